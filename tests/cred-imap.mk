# Tests of cred-notify's IMAP door and of its feed.
cred_feed_libs = plugins/cred-notify/libfeed.la $(LIBDOVECOT)

cred_feed_tests = \
	%D%/unit/test-feed-line \
	%D%/unit/test-imap-show
if HAVE_CHECK
check_PROGRAMS += $(cred_feed_tests)
TESTS += $(cred_feed_tests)
endif
%C%_unit_test_feed_line_CPPFLAGS = $(cred_feed_cppflags)
%C%_unit_test_feed_line_LDADD = $(cred_feed_libs) $(CHECK_LIBS)
%C%_unit_test_imap_show_CPPFLAGS = $(cred_feed_cppflags)
%C%_unit_test_imap_show_LDADD = $(cred_feed_libs) $(CHECK_LIBS)

check_PROGRAMS += %D%/fuzz/fuzz-feed-line
TESTS += %D%/fuzz/fuzz-feed-line
%C%_fuzz_fuzz_feed_line_SOURCES = %D%/fuzz/fuzz-feed-line.c \
	%D%/fuzz/fuzz-main.c %D%/fuzz/fuzz.h
%C%_fuzz_fuzz_feed_line_CPPFLAGS = $(cred_feed_cppflags)
%C%_fuzz_fuzz_feed_line_LDADD = $(cred_feed_libs)

# what integration tests use in the service's place
check_PROGRAMS += %D%/tools/cred-feed
%C%_tools_cred_feed_CPPFLAGS = $(cred_feed_cppflags)
%C%_tools_cred_feed_LDADD = $(cred_feed_libs)
