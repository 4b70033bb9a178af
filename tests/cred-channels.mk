# Unit tests, fuzz target and tool of cred-notify's channels.
cred_channels_libs = plugins/cred-notify/libchannels.la $(LIBDOVECOT)

cred_channels_tests = \
	%D%/unit/test-channel-dovecot \
	%D%/unit/test-channel-verdict \
	%D%/unit/test-http-ask \
	%D%/unit/test-http-token \
	%D%/unit/test-notice-json \
	%D%/unit/test-webhook-sign
if HAVE_CHECK
check_PROGRAMS += $(cred_channels_tests)
TESTS += $(cred_channels_tests)
endif
%C%_unit_test_channel_dovecot_CPPFLAGS = $(cred_channels_cppflags)
%C%_unit_test_channel_dovecot_LDADD = $(cred_channels_libs) $(CHECK_LIBS)
%C%_unit_test_channel_verdict_CPPFLAGS = $(cred_channels_cppflags)
%C%_unit_test_channel_verdict_LDADD = $(cred_channels_libs) $(CHECK_LIBS)
%C%_unit_test_http_ask_CPPFLAGS = $(cred_channels_cppflags)
%C%_unit_test_http_ask_LDADD = $(cred_channels_libs) $(CHECK_LIBS)
%C%_unit_test_http_token_CPPFLAGS = $(cred_channels_cppflags)
%C%_unit_test_http_token_LDADD = $(cred_channels_libs) $(CHECK_LIBS)
%C%_unit_test_notice_json_CPPFLAGS = $(cred_channels_cppflags)
%C%_unit_test_notice_json_LDADD = $(cred_channels_libs) $(CHECK_LIBS)
%C%_unit_test_webhook_sign_CPPFLAGS = $(cred_channels_cppflags)
%C%_unit_test_webhook_sign_LDADD = $(cred_channels_libs) $(CHECK_LIBS)

check_PROGRAMS += %D%/fuzz/fuzz-http-ask
TESTS += %D%/fuzz/fuzz-http-ask
%C%_fuzz_fuzz_http_ask_SOURCES = %D%/fuzz/fuzz-http-ask.c \
	%D%/fuzz/fuzz-main.c %D%/fuzz/fuzz.h
%C%_fuzz_fuzz_http_ask_CPPFLAGS = $(cred_channels_cppflags)
%C%_fuzz_fuzz_http_ask_LDADD = $(cred_channels_libs)

check_PROGRAMS += %D%/tools/cred-channel
%C%_tools_cred_channel_CPPFLAGS = $(cred_channels_cppflags)
%C%_tools_cred_channel_LDADD = $(cred_channels_libs)
