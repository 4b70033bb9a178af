#ifndef CRED_NOTIFY_AUTH_FEED_H
#define CRED_NOTIFY_AUTH_FEED_H

struct ip_addr;
struct record;

/* The way of records from the auth process to the service: a unix socket that
   is connected when there is a service, and that is never waited for.
   It logs nothing. What is lost is counted and told the service. */
struct auth_feed;

/* The service asks to be told when this user logs in, who failed in that
   network; family 0 = not known. */
typedef void auth_feed_watch_t(const char *user, const struct ip_addr *net);

/* path: of the socket; start: random, hexadecimal. Connects soon, if there is
   a service. */
struct auth_feed *auth_feed_init(const char *path, const char *start,
				 auth_feed_watch_t *watch);
void auth_feed_deinit(struct auth_feed **feed);

/* Whether there is a service to tell: its socket exists, or did since we
   started. Without one this tries again once a second, at one system call. */
bool auth_feed_is_wanted(struct auth_feed *feed);
/* Tell it. Fills in the record's id. */
void auth_feed_send(struct auth_feed *feed, struct record *record);

#endif
