#ifndef CRED_NOTIFY_SERVICE_H
#define CRED_NOTIFY_SERVICE_H

struct cred_settings;
struct cred_service;
struct master_service_connection;

/* The cred-notify service: the one place where facts become notices, and
   notices are told. What it knows is in its journal before anybody is told of
   it, and before a producer hears that it was taken up. */

/* base_dir: Dovecot's. trusted_uid: Dovecot's internal user. set must outlive
   the service. Returns -1 and error_r if its journal cannot be used. */
int cred_service_init(const struct cred_settings *set, const char *base_dir,
		      uid_t trusted_uid, struct cred_service **service_r,
		      const char **error_r);
void cred_service_deinit(struct cred_service **service);

/* An accepted connection, by the name of its listener; the service owns its
   fd. */
void cred_service_connected(struct cred_service *service,
			    const struct master_service_connection *conn);

#endif
