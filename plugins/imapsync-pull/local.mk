# Pure: values in, values out.
noinst_LTLIBRARIES += %D%/libcore.la
%C%_libcore_la_SOURCES = \
	%D%/core/account-change.c \
	%D%/core/account-change.h \
	%D%/core/account-policy.c \
	%D%/core/account-policy.h \
	%D%/core/account.c \
	%D%/core/account.h \
	%D%/core/back-off.c \
	%D%/core/back-off.h \
	%D%/core/due.c \
	%D%/core/due.h \
	%D%/core/folder-map.c \
	%D%/core/folder-map.h \
	%D%/core/lmtp-verdict.c \
	%D%/core/lmtp-verdict.h \
	%D%/core/net-policy.c \
	%D%/core/net-policy.h \
	%D%/core/reply-class.c \
	%D%/core/reply-class.h \
	%D%/core/report.c \
	%D%/core/report.h \
	%D%/core/sync-plan.c \
	%D%/core/sync-plan.h \
	%D%/core/trace-header.c \
	%D%/core/trace-header.h \
	%D%/core/watch-digest.c \
	%D%/core/watch-digest.h \
	%D%/core/watch-folders.c \
	%D%/core/watch-folders.h \
	%D%/core/watch-fsm.c \
	%D%/core/watch-fsm.h \
	%D%/core/watch-pace.c \
	%D%/core/watch-pace.h \
	%D%/core/watch-turns.c \
	%D%/core/watch-turns.h
%C%_libcore_la_LIBADD = plugins/common/libcommon.la

# What each dialect of Dovecot's settings needs a file of its own for.
if DOVECOT_2_4
settings_sources = \
	%D%/imapsync-settings-2.4.c
settings_user_sources =
settings_module_sources = \
	%D%/imapsync-settings-module-2.4.c
pull_dialect_sources = \
	%D%/account-dict-2.4.c \
	%D%/remote-imap-ssl-2.4.c
else
settings_sources = \
	%D%/imapsync-settings-2.3.c
# apart, because doveconf has no library of mail users
settings_user_sources = \
	%D%/imapsync-settings-user-2.3.c
settings_module_sources = \
	%D%/imapsync-settings-module-2.3.c
pull_dialect_sources = \
	%D%/account-dict-2.3.c \
	%D%/remote-imap-ssl-2.3.c
endif
settings_sources += \
	%D%/imapsync-settings-private.h \
	%D%/imapsync-settings.c \
	%D%/imapsync-settings.h

# Doors to Dovecot that the programs and the tests share. An archive: each
# program takes the files it uses.
noinst_LTLIBRARIES += %D%/libpull.la
%C%_libpull_la_SOURCES = \
	$(pull_dialect_sources) \
	$(settings_sources) \
	$(settings_user_sources) \
	%D%/account-dict.h \
	%D%/account-store.c \
	%D%/account-store.h \
	%D%/remote-account.c \
	%D%/remote-account.h \
	%D%/remote-list.c \
	%D%/remote-list.h \
	%D%/remote-imap-connect.c \
	%D%/remote-imap-input.c \
	%D%/remote-imap-login.c \
	%D%/remote-imap-private.h \
	%D%/remote-imap-tls.c \
	%D%/remote-imap.c \
	%D%/remote-imap.h \
	%D%/inflight.c \
	%D%/inflight.h \
	%D%/job.c \
	%D%/job.h \
	%D%/key-file.c \
	%D%/key-file.h \
	%D%/local-folder.c \
	%D%/local-folder.h \
	%D%/monotonic.h \
	%D%/pull-folder.c \
	%D%/pull-private.h \
	%D%/pull-store.c \
	%D%/pull.c \
	%D%/pull.h \
	%D%/report-db.c \
	%D%/report-db.h \
	%D%/run-queue.c \
	%D%/run-queue.h \
	%D%/schedule-db.c \
	%D%/schedule-db.h \
	%D%/scheduler-account.c \
	%D%/scheduler-private.h \
	%D%/scheduler-watch.c \
	%D%/scheduler.c \
	%D%/scheduler.h \
	%D%/secret.c \
	%D%/secret.h \
	%D%/service-account.c \
	%D%/service-keys.c \
	%D%/service-private.h \
	%D%/service-report.c \
	%D%/service-report.h \
	%D%/service-run.c \
	%D%/service-status.c \
	%D%/service-user.c \
	%D%/service-wake.c \
	%D%/service.c \
	%D%/service.h \
	%D%/sink-direct.c \
	%D%/sink-lmtp-conn.c \
	%D%/sink-lmtp-private.h \
	%D%/sink-lmtp.c \
	%D%/sink.c \
	%D%/sink.h \
	%D%/source-imap.c \
	%D%/source-imap.h \
	%D%/spool.c \
	%D%/spool.h \
	%D%/sqlite-file.c \
	%D%/sqlite-file.h \
	%D%/state-db.c \
	%D%/state-db.h \
	%D%/watch-client.c \
	%D%/watch-client.h \
	%D%/watch.c \
	%D%/watch.h \
	%D%/worker-job.c \
	%D%/worker-job.h
%C%_libpull_la_LIBADD = %D%/libcore.la

pull_libs = \
	%D%/libpull.la \
	$(LIBDOVECOT_STORAGE) \
	$(LIBDOVECOT) \
	$(OPENSSL_LIBS) \
	$(SQLITE_LIBS)

# The service: accounts and keys, no remote byte.
dovecot_pkglibexec_PROGRAMS += %D%/imapsync-pull
%C%_imapsync_pull_SOURCES = %D%/main.c
%C%_imapsync_pull_CFLAGS = $(program_cflags)
%C%_imapsync_pull_LDFLAGS = $(program_ldflags)
%C%_imapsync_pull_LDADD = $(pull_libs)

# One run, as the mail user.
dovecot_pkglibexec_PROGRAMS += %D%/imapsync-pull-worker
%C%_imapsync_pull_worker_SOURCES = %D%/worker-main.c
%C%_imapsync_pull_worker_CFLAGS = $(program_cflags)
%C%_imapsync_pull_worker_LDFLAGS = $(program_ldflags)
%C%_imapsync_pull_worker_LDADD = $(pull_libs)

# Connections that wait for news, and nothing else.
dovecot_pkglibexec_PROGRAMS += %D%/imapsync-pull-watch
%C%_imapsync_pull_watch_SOURCES = %D%/watch-main.c
%C%_imapsync_pull_watch_CFLAGS = $(program_cflags)
%C%_imapsync_pull_watch_LDFLAGS = $(program_ldflags)
%C%_imapsync_pull_watch_LDADD = $(pull_libs)

# Loaded by lmtp; harmless elsewhere.
dovecot_module_LTLIBRARIES += %D%/lib95_imapsync_pull_plugin.la
%C%_lib95_imapsync_pull_plugin_la_SOURCES = \
	%D%/inflight.c \
	%D%/job.c \
	%D%/lmtp-door.c \
	%D%/lmtp-door.h \
	%D%/lmtp-key.c \
	%D%/lmtp-key.h \
	%D%/lmtp-retry.c \
	%D%/lmtp-retry.h \
	%D%/lmtp-source.c \
	%D%/lmtp-source.h \
	%D%/lmtp-store.c \
	%D%/lmtp-store.h \
	%D%/login-door.c \
	%D%/login-door.h \
	$(settings_sources) \
	$(settings_user_sources)
%C%_lib95_imapsync_pull_plugin_la_LDFLAGS = $(module_ldflags) \
	-export-symbols-regex '^imapsync_pull_plugin_(init|deinit|version|dependencies)$$'
%C%_lib95_imapsync_pull_plugin_la_LIBADD = \
	%D%/libcore.la \
	-L$(dovecotdir) $(LIBDOVECOT_LDA)

doveadm_module_LTLIBRARIES += %D%/lib10_doveadm_imapsync_pull_plugin.la
%C%_lib10_doveadm_imapsync_pull_plugin_la_SOURCES = \
	%D%/doveadm-imapsync-client.c \
	%D%/doveadm-imapsync-cmd.c \
	%D%/doveadm-imapsync-progress.c \
	%D%/doveadm-imapsync-secret.c \
	%D%/doveadm-imapsync.c \
	%D%/doveadm-imapsync.h \
	%D%/job.c
%C%_lib10_doveadm_imapsync_pull_plugin_la_LDFLAGS = $(module_ldflags) \
	-export-symbols-regex '^doveadm_imapsync_pull_plugin_(init|deinit|version)$$'
%C%_lib10_doveadm_imapsync_pull_plugin_la_LIBADD = \
	%D%/libcore.la

# Read by doveconf and the master: setting names, defaults, our services.
settings_module_LTLIBRARIES += %D%/libimapsync_pull_settings.la
%C%_libimapsync_pull_settings_la_SOURCES = \
	$(settings_module_sources) \
	$(settings_sources)
%C%_libimapsync_pull_settings_la_LDFLAGS = \
	$(module_ldflags) \
	-export-symbols-regex '^imapsync_pull_settings_'
%C%_libimapsync_pull_settings_la_LIBADD = %D%/libcore.la
