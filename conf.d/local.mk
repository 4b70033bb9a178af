# The same settings in both dialects; installed is what this Dovecot speaks.
dist_noinst_DATA += \
	conf.d/2.3/90-cred-notify.conf \
	conf.d/2.3/90-imapsync-pull.conf \
	conf.d/2.3/cred-notify-metrics.conf.ext \
	conf.d/2.3/imapsync-pull-metrics.conf.ext \
	conf.d/2.4/90-cred-notify.conf \
	conf.d/2.4/90-imapsync-pull.conf \
	conf.d/2.4/cred-notify-metrics.conf.ext \
	conf.d/2.4/imapsync-pull-metrics.conf.ext
conf_files = \
	conf.d/$(dovecot_dialect)/90-imapsync-pull.conf \
	conf.d/$(dovecot_dialect)/imapsync-pull-metrics.conf.ext
if CRED_NOTIFY
conf_files += \
	conf.d/$(dovecot_dialect)/90-cred-notify.conf \
	conf.d/$(dovecot_dialect)/cred-notify-metrics.conf.ext
endif

# What an admin may have changed is left alone.
install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(confdir)'
	@for file in $(conf_files); do \
		dest='$(DESTDIR)$(confdir)'/$${file##*/}; \
		if test -e "$$dest" && \
		   ! cmp -s '$(srcdir)'/$$file "$$dest"; then \
			echo "$$dest exists and differs: kept"; \
		else \
			$(INSTALL_DATA) '$(srcdir)'/$$file "$$dest"; \
		fi; \
	done

uninstall-local:
	@for file in $(conf_files); do \
		dest='$(DESTDIR)$(confdir)'/$${file##*/}; \
		if cmp -s '$(srcdir)'/$$file "$$dest"; then \
			rm -f "$$dest"; \
		fi; \
	done
