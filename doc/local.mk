dist_man_MANS += \
	doc/man/doveadm-imapsync.1

dist_noinst_DATA += \
	doc/admin-guide.md \
	doc/architecture.md \
	doc/failures.md
