#ifndef CRED_NOTIFY_SEND_FILTER_H
#define CRED_NOTIFY_SEND_FILTER_H

/* Dovecot sends debug events only if one global filter wants them, which the
   stats client sets and sets again. This adds ours to it, and hides ours from
   stats: its own filter stays as it is. */
struct send_filter;

/* events: in the language of event filters. Returns NULL and error_r if it
   cannot be read. */
struct send_filter *send_filter_init(const char *events, const char **error_r);
void send_filter_deinit(struct send_filter **filter);

/* To be called whenever an event is created: one comparison if nobody has
   changed the global filter since. */
void send_filter_keep(struct send_filter *filter);

#endif
