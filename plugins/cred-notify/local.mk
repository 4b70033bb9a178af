# Pure: values in, values out.
noinst_LTLIBRARIES += %D%/libcore.la
%C%_libcore_la_SOURCES = \
	%D%/core/control-line.c \
	%D%/core/control-line.h \
	%D%/core/ip-network.h \
	%D%/core/login-reason.c \
	%D%/core/login-reason.h \
	%D%/core/record-queue.c \
	%D%/core/record-queue.h \
	%D%/core/record.c \
	%D%/core/record.h \
	%D%/core/streak.c \
	%D%/core/streak.h
# "core/..." is that of the plugin
%C%_libcore_la_CPPFLAGS = $(cred_notify_cppflags)
%C%_libcore_la_LIBADD = plugins/common/libcommon.la

cred_notify_cppflags = -I$(srcdir)/%D% $(AM_CPPFLAGS)

if CRED_NOTIFY
# Loaded by auth; without the service's socket it does nothing.
auth_module_LTLIBRARIES += %D%/lib20_auth_cred_notify.la
%C%_lib20_auth_cred_notify_la_SOURCES = \
	%D%/auth-door.c \
	%D%/auth-door.h \
	%D%/auth-feed.c \
	%D%/auth-feed.h
%C%_lib20_auth_cred_notify_la_CPPFLAGS = $(cred_notify_cppflags)
%C%_lib20_auth_cred_notify_la_LDFLAGS = $(module_ldflags) \
	-export-symbols-regex '^auth_cred_notify_(init|deinit|version)$$'
%C%_lib20_auth_cred_notify_la_LIBADD = %D%/libcore.la
endif
