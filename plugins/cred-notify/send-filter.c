/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "lib-event.h"
#include "event-filter.h"
#include "send-filter.h"

struct send_filter {
	/* ours; what others set, NULL = nothing; both */
	struct event_filter *own, *others, *merged;
};

/* Not by event_filter_merge(): that forgets whether events without a name are
   wanted, and none of those would be sent to stats again. */
static void
send_filter_add(struct event_filter *dest, struct event_filter *src)
{
	string_t *str = t_str_new(256);
	const char *error;

	event_filter_export(src, str);
	if (str_len(str) > 0 &&
	    event_filter_parse(str_c(str), dest, &error) < 0)
		i_error("cred-notify: Event filter %s: %s", str_c(str), error);
}

struct send_filter *send_filter_init(const char *events, const char **error_r)
{
	struct send_filter *filter = i_new(struct send_filter, 1);

	filter->own = event_filter_create();
	if (event_filter_parse(events, filter->own, error_r) < 0) {
		event_filter_unref(&filter->own);
		i_free(filter);
		return NULL;
	}
	send_filter_keep(filter);
	return filter;
}

static void
send_filter_merge(struct send_filter *filter, struct event_filter *global)
{
	event_filter_unref(&filter->merged);
	event_filter_unref(&filter->others);
	filter->merged = event_filter_create();
	if (global != NULL) {
		event_filter_ref(global);
		send_filter_add(filter->merged, global);
	}
	filter->others = global;
	send_filter_add(filter->merged, filter->own);
	event_set_global_debug_send_filter(filter->merged);
}

void send_filter_keep(struct send_filter *filter)
{
	struct event_filter *global = event_get_global_debug_send_filter();

	/* as long as we hold it, no other filter can have its address */
	if (global != NULL && global == filter->merged)
		return;
	T_BEGIN {
		send_filter_merge(filter, global);
	} T_END;
}

void send_filter_deinit(struct send_filter **_filter)
{
	struct send_filter *filter = *_filter;

	*_filter = NULL;
	if (event_get_global_debug_send_filter() == filter->merged) {
		if (filter->others == NULL)
			event_unset_global_debug_send_filter();
		else
			event_set_global_debug_send_filter(filter->others);
	}
	event_filter_unref(&filter->merged);
	event_filter_unref(&filter->others);
	event_filter_unref(&filter->own);
	i_free(filter);
}
