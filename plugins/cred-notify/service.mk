# The service, its settings and its commands.
if DOVECOT_2_4
cred_settings_sources = %D%/cred-settings-2.4.c
cred_settings_module_sources = %D%/cred-settings-module-2.4.c
else
cred_settings_sources = %D%/cred-settings-2.3.c
cred_settings_module_sources = %D%/cred-settings-module-2.3.c
endif
cred_settings_sources += \
	%D%/cred-settings-private.h \
	%D%/cred-settings.c \
	%D%/cred-settings.h

if CRED_NOTIFY
dovecot_pkglibexec_PROGRAMS += %D%/cred-notify
%C%_cred_notify_SOURCES = \
	$(cred_settings_sources) \
	%D%/control.c \
	%D%/control.h \
	%D%/holders.c \
	%D%/holders.h \
	%D%/main.c \
	%D%/producers.c \
	%D%/producers.h \
	%D%/service-http.c \
	%D%/service-journal.c \
	%D%/service-plan.c \
	%D%/service-private.h \
	%D%/service-tell.c \
	%D%/service-test.c \
	%D%/service.c \
	%D%/service.h \
	%D%/userdb-client.c \
	%D%/userdb-client.h
%C%_cred_notify_CPPFLAGS = $(cred_notify_cppflags)
%C%_cred_notify_CFLAGS = $(program_cflags)
%C%_cred_notify_LDFLAGS = $(program_ldflags)
%C%_cred_notify_LDADD = \
	%D%/libchannels.la \
	%D%/libfeed.la \
	%D%/libcore.la \
	$(LIBDOVECOT)

doveadm_module_LTLIBRARIES += %D%/lib10_doveadm_cred_notify_plugin.la
%C%_lib10_doveadm_cred_notify_plugin_la_SOURCES = \
	%D%/doveadm-cred-notify.c
%C%_lib10_doveadm_cred_notify_plugin_la_CPPFLAGS = $(cred_notify_cppflags)
%C%_lib10_doveadm_cred_notify_plugin_la_LDFLAGS = $(module_ldflags) \
	-export-symbols-regex '^doveadm_cred_notify_plugin_(init|deinit|version)$$'
%C%_lib10_doveadm_cred_notify_plugin_la_LIBADD = %D%/libcore.la

# Read by doveconf and the master: setting names, defaults, our service.
settings_module_LTLIBRARIES += %D%/libcred_notify_settings.la
%C%_libcred_notify_settings_la_SOURCES = \
	$(cred_settings_sources) \
	$(cred_settings_module_sources)
%C%_libcred_notify_settings_la_CPPFLAGS = $(cred_notify_cppflags)
%C%_libcred_notify_settings_la_LDFLAGS = $(module_ldflags) \
	-export-symbols-regex '^cred_notify_settings_'
%C%_libcred_notify_settings_la_LIBADD = %D%/libnotice.la
endif
