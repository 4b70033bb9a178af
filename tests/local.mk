# Unit tests: one program per file of code. They need neither root nor network.
dist_check_SCRIPTS += tests/check-layers.sh
TESTS += tests/check-layers.sh
AM_TESTS_ENVIRONMENT = top_srcdir='$(top_srcdir)'; export top_srcdir;

# tests of pure files
unit_core_tests = \
	tests/unit/test-account \
	tests/unit/test-account-change \
	tests/unit/test-back-off \
	tests/unit/test-due \
	tests/unit/test-due-simulation \
	tests/unit/test-folder-map \
	tests/unit/test-lmtp-verdict \
	tests/unit/test-net-policy \
	tests/unit/test-redact \
	tests/unit/test-reply-class \
	tests/unit/test-report \
	tests/unit/test-sync-plan \
	tests/unit/test-trace-header \
	tests/unit/test-watch-digest \
	tests/unit/test-watch-folders \
	tests/unit/test-watch-fsm \
	tests/unit/test-watch-pace \
	tests/unit/test-watch-turns
LDADD = plugins/imapsync-pull/libcore.la $(LIBDOVECOT) $(CHECK_LIBS)

# tests of pure files of cred-notify
unit_cred_tests = \
	tests/unit/test-control-line \
	tests/unit/test-login-reason \
	tests/unit/test-record \
	tests/unit/test-record-queue \
	tests/unit/test-streak
unit_cred_libs = plugins/cred-notify/libcore.la $(LIBDOVECOT) $(CHECK_LIBS)
tests_unit_test_control_line_CPPFLAGS = $(cred_notify_cppflags)
tests_unit_test_control_line_LDADD = $(unit_cred_libs)
tests_unit_test_login_reason_CPPFLAGS = $(cred_notify_cppflags)
tests_unit_test_login_reason_LDADD = $(unit_cred_libs)
tests_unit_test_record_CPPFLAGS = $(cred_notify_cppflags)
tests_unit_test_record_LDADD = $(unit_cred_libs)
tests_unit_test_record_queue_CPPFLAGS = $(cred_notify_cppflags)
tests_unit_test_record_queue_LDADD = $(unit_cred_libs)
tests_unit_test_streak_CPPFLAGS = $(cred_notify_cppflags)
tests_unit_test_streak_LDADD = $(unit_cred_libs)

# tests of doors
unit_pull_tests = \
	tests/unit/test-account-store \
	tests/unit/test-inflight \
	tests/unit/test-job \
	tests/unit/test-remote-list \
	tests/unit/test-report-db \
	tests/unit/test-run-queue \
	tests/unit/test-schedule-db \
	tests/unit/test-secret \
	tests/unit/test-spool \
	tests/unit/test-state-db \
	tests/unit/test-watch-client
unit_pull_libs = $(pull_libs) $(CHECK_LIBS)
tests_unit_test_account_store_LDADD = $(unit_pull_libs)
tests_unit_test_inflight_LDADD = $(unit_pull_libs)
tests_unit_test_job_LDADD = $(unit_pull_libs)
tests_unit_test_remote_list_LDADD = $(unit_pull_libs)
tests_unit_test_report_db_LDADD = $(unit_pull_libs)
tests_unit_test_run_queue_LDADD = $(unit_pull_libs)
tests_unit_test_schedule_db_LDADD = $(unit_pull_libs)
tests_unit_test_secret_LDADD = $(unit_pull_libs)
tests_unit_test_spool_LDADD = $(unit_pull_libs)
tests_unit_test_state_db_LDADD = $(unit_pull_libs)
tests_unit_test_watch_client_LDADD = $(unit_pull_libs)

# what integration tests use
tools = \
	tests/tools/imap-probe \
	tests/tools/lmtp-inject \
	tests/tools/lmtp-sink
check_PROGRAMS += $(tools)
tests_tools_imap_probe_LDADD = $(pull_libs)
tests_tools_lmtp_inject_LDADD = $(pull_libs)
tests_tools_lmtp_sink_LDADD = $(pull_libs)

# what benchmarks measure against; it needs no Dovecot
check_PROGRAMS += tests/bench/lmtp-client
tests_bench_lmtp_client_LDADD =

if HAVE_CHECK
check_PROGRAMS += $(unit_core_tests) $(unit_cred_tests) $(unit_pull_tests)
TESTS += $(unit_core_tests) $(unit_cred_tests) $(unit_pull_tests)
endif

# make check-valgrind: the same, each object watched
check-valgrind:
	$(MAKE) $(AM_MAKEFLAGS) check CK_FORK=no \
		LOG_COMPILER='valgrind -q --error-exitcode=99 --leak-check=full'
.PHONY: check-valgrind
