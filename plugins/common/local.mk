# Shared by both plugins; pure.
noinst_LTLIBRARIES += %D%/libcommon.la

%C%_libcommon_la_SOURCES = \
	%D%/dovecot-compat.h \
	%D%/redact.c \
	%D%/redact.h
