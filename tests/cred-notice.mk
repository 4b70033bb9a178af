# Unit tests and fuzz targets of cred-notify's notices.
cred_notice_libs = plugins/cred-notify/libnotice.la $(LIBDOVECOT)

cred_notice_tests = \
	%D%/unit/test-audience \
	%D%/unit/test-journal \
	%D%/unit/test-notice \
	%D%/unit/test-notice-rules \
	%D%/unit/test-notice-text \
	%D%/unit/test-outbox
if HAVE_CHECK
check_PROGRAMS += $(cred_notice_tests)
TESTS += $(cred_notice_tests)
endif
%C%_unit_test_audience_CPPFLAGS = $(cred_notice_cppflags)
%C%_unit_test_audience_LDADD = $(cred_notice_libs) $(CHECK_LIBS)
%C%_unit_test_journal_CPPFLAGS = $(cred_notice_cppflags)
%C%_unit_test_journal_LDADD = $(cred_notice_libs) $(CHECK_LIBS)
%C%_unit_test_notice_CPPFLAGS = $(cred_notice_cppflags)
%C%_unit_test_notice_LDADD = $(cred_notice_libs) $(CHECK_LIBS)
%C%_unit_test_notice_text_CPPFLAGS = $(cred_notice_cppflags)
%C%_unit_test_notice_text_LDADD = $(cred_notice_libs) $(CHECK_LIBS)
%C%_unit_test_notice_rules_CPPFLAGS = $(cred_notice_cppflags)
%C%_unit_test_notice_rules_LDADD = $(cred_notice_libs) $(CHECK_LIBS)
%C%_unit_test_outbox_CPPFLAGS = $(cred_notice_cppflags)
%C%_unit_test_outbox_LDADD = $(cred_notice_libs) $(CHECK_LIBS)

cred_notice_fuzz = \
	%D%/fuzz/fuzz-journal \
	%D%/fuzz/fuzz-notice-text
check_PROGRAMS += $(cred_notice_fuzz)
TESTS += $(cred_notice_fuzz)
%C%_fuzz_fuzz_journal_SOURCES = %D%/fuzz/fuzz-journal.c \
	%D%/fuzz/fuzz-main.c %D%/fuzz/fuzz.h
%C%_fuzz_fuzz_journal_CPPFLAGS = $(cred_notice_cppflags)
%C%_fuzz_fuzz_journal_LDADD = $(cred_notice_libs)
%C%_fuzz_fuzz_notice_text_SOURCES = %D%/fuzz/fuzz-notice-text.c \
	%D%/fuzz/fuzz-main.c %D%/fuzz/fuzz.h
%C%_fuzz_fuzz_notice_text_CPPFLAGS = $(cred_notice_cppflags)
%C%_fuzz_fuzz_notice_text_LDADD = $(cred_notice_libs)

# how long replay and compaction of a full journal take
check_PROGRAMS += %D%/bench/notify-journal
%C%_bench_notify_journal_CPPFLAGS = $(cred_notice_cppflags)
%C%_bench_notify_journal_LDADD = $(cred_notice_libs)
