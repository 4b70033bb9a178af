dist_man_MANS += \
	doc/man/doveadm-imapsync.1
if CRED_NOTIFY
dist_man_MANS += \
	doc/man/doveadm-cred-notify.1
endif

dist_noinst_DATA += \
	doc/admin-guide.md \
	doc/architecture.md \
	doc/cred-notify.md \
	doc/failures.md \
	doc/monitoring/cred-notify-alerts.yml \
	doc/monitoring/cred-notify-grafana.json \
	doc/monitoring/alerts.yml \
	doc/monitoring/grafana.json
