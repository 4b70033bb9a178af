# Channels: ways to tell somebody something.
cred_channels_cppflags = -I$(srcdir)/%D% $(AM_CPPFLAGS)

if DOVECOT_2_4
cred_channels_dialect_sources = %D%/channel-dovecot-2.4.c
else
cred_channels_dialect_sources = %D%/channel-dovecot-2.3.c
endif

noinst_LTLIBRARIES += %D%/libchannels.la
%C%_libchannels_la_CPPFLAGS = $(cred_channels_cppflags)
%C%_libchannels_la_SOURCES = \
	$(cred_channels_dialect_sources) \
	%D%/channel-dovecot.h \
	%D%/channel-http-events.c \
	%D%/channel-http-login.c \
	%D%/channel-http-private.h \
	%D%/channel-http.c \
	%D%/channel-http.h \
	%D%/channel-mail-private.h \
	%D%/channel-mail-send.c \
	%D%/channel-mail.c \
	%D%/channel-mail.h \
	%D%/channel-webhook.c \
	%D%/channel-webhook.h \
	%D%/channel.h \
	%D%/core/channel-verdict.c \
	%D%/core/channel-verdict.h \
	%D%/core/http-ask.c \
	%D%/core/http-ask.h \
	%D%/core/http-token.c \
	%D%/core/http-token.h \
	%D%/core/notice-json.c \
	%D%/core/notice-json.h \
	%D%/core/webhook-sign.c \
	%D%/core/webhook-sign.h
%C%_libchannels_la_LIBADD = %D%/libnotice.la
