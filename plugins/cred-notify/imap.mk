# The imap process's door, and the service's end of it.
cred_feed_cppflags = -I$(srcdir)/%D% $(AM_CPPFLAGS)

noinst_LTLIBRARIES += %D%/libfeed.la
%C%_libfeed_la_CPPFLAGS = $(cred_feed_cppflags)
%C%_libfeed_la_SOURCES = \
	%D%/core/feed-line.c \
	%D%/core/feed-line.h \
	%D%/core/imap-show.c \
	%D%/core/imap-show.h \
	%D%/feed.c \
	%D%/feed.h

if DOVECOT_2_4
cred_imap_settings_sources = \
	%D%/cred-settings-imap-2.4.c \
	%D%/cred-settings-imap-2.4.h
else
cred_imap_settings_sources = \
	%D%/cred-settings-imap-2.3.c
endif
cred_imap_settings_sources += \
	%D%/cred-settings-imap.h

if CRED_NOTIFY
dovecot_module_LTLIBRARIES += %D%/lib95_imap_cred_notify_plugin.la
%C%_lib95_imap_cred_notify_plugin_la_SOURCES = \
	$(cred_imap_settings_sources) \
	%D%/imap-door.c \
	%D%/imap-door.h \
	%D%/imap-feed.c \
	%D%/imap-feed.h
%C%_lib95_imap_cred_notify_plugin_la_CPPFLAGS = $(cred_feed_cppflags)
%C%_lib95_imap_cred_notify_plugin_la_LDFLAGS = $(module_ldflags) \
	-export-symbols-regex '^imap_cred_notify_plugin_(init|deinit|version|binary_dependency)$$'
%C%_lib95_imap_cred_notify_plugin_la_LIBADD = %D%/libfeed.la

# In 2.3 they are plugin {}.
if DOVECOT_2_4
settings_module_LTLIBRARIES += %D%/libcred_notify_imap_settings.la
%C%_libcred_notify_imap_settings_la_SOURCES = \
	$(cred_imap_settings_sources) \
	%D%/cred-settings-imap-module-2.4.c
%C%_libcred_notify_imap_settings_la_CPPFLAGS = $(cred_feed_cppflags)
%C%_libcred_notify_imap_settings_la_LDFLAGS = $(module_ldflags) \
	-export-symbols-regex '^cred_notify_imap_settings_'
%C%_libcred_notify_imap_settings_la_LIBADD = %D%/libfeed.la
endif
endif
