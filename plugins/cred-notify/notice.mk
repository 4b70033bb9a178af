# Notices: what is said, to whom, and what is kept of it. Pure but for the
# journal.
cred_notice_cppflags = -I$(srcdir)/%D% $(AM_CPPFLAGS)

noinst_LTLIBRARIES += %D%/libnotice.la
%C%_libnotice_la_CPPFLAGS = $(cred_notice_cppflags)
%C%_libnotice_la_SOURCES = \
	%D%/core/audience.c \
	%D%/core/audience.h \
	%D%/core/journal-line.c \
	%D%/core/journal-line.h \
	%D%/core/notice-catalogue.h \
	%D%/core/notice-mail.c \
	%D%/core/notice-rules.c \
	%D%/core/notice-rules.h \
	%D%/core/notice-text.c \
	%D%/core/notice-text.h \
	%D%/core/notice.c \
	%D%/core/notice.h \
	%D%/core/outbox.c \
	%D%/core/outbox.h \
	%D%/core/text-safe.c \
	%D%/core/text-safe.h \
	%D%/journal.c \
	%D%/journal.h
nodist_%C%_libnotice_la_SOURCES = %D%/notice-catalogue.c
%C%_libnotice_la_LIBADD = plugins/common/libcommon.la

# languages, and the table made of them
cred_notice_po = \
	po/de.po \
	po/it.po
%D%/notice-catalogue.c: po/catalogue.awk $(cred_notice_po)
	$(AM_V_GEN)$(MKDIR_P) %D% && cd $(srcdir) && \
		LC_ALL=C $(AWK) -f po/catalogue.awk $(cred_notice_po) \
		>"$(abs_builddir)/$@.tmp" && \
		mv "$(abs_builddir)/$@.tmp" "$(abs_builddir)/$@"
CLEANFILES += %D%/notice-catalogue.c
EXTRA_DIST += po
