/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "ioloop.h"
#include "str.h"
#include "strnum.h"
#include "imap-utf7.h"
#include "dovecot-compat.h"
#include "core/folder-map.h"
#include "core/watch-folders.h"
#include "core/watch-pace.h"
#include "monotonic.h"
#include "remote-list.h"
#include "watch.h"

/* There are many of these: buffers start small, and grow only where a server
   makes them. */
#define INPUT_BUFFER_SIZE 1024
#define MAX_LINE_SIZE (64*1024)
/* folders in one answer to LIST, and its size: what is kept of it is less */
#define MAX_FOLDERS 20000
#define MAX_LIST_BYTES (8*1024*1024)
/* A burst is one piece of news: the first of it is told after this ... */
#define NEWS_FIRST_MSECS 50
/* ... and the rest of it at most so often. */
#define NEWS_INTERVAL_MSECS 1000
/* More than this in NEWS_INTERVAL_MSECS is not read until the next: a flood
   costs its sender a full socket, and us nothing. */
#define FLOOD_RESPONSES 1000
#define FLOOD_BYTES (256*1024)
/* IDLE is asked for again after this: within the half hour of silence that
   servers allow (RFC 2177, 3), and soon enough to see that one is dead */
#define RENEW_MSECS (9*60*1000)
/* and the kernel looks after it meanwhile, before NATs forget it */
#define KEEPALIVE_SECS (4*60)
/* A command must be answered in so many times the account's timeout, whatever
   else the server says meanwhile. */
#define COMMAND_TIMEOUTS 2
/* A server that has none of our ways will not have them in a minute. */
#define NO_WAY_WAIT_SECS (60*60)
#define STATUS_MAX_ITEMS 4

struct watch {
	struct remote_imap *client;
	struct event *event;
	struct watch_callbacks callbacks;
	void *context;

	struct watch_fsm fsm;
	struct watch_ways wanted;
	/* the account again, without its secret */
	pool_t account_pool;
	struct account account;
	/* as the server writes it; NULL = none */
	char *idle_folder;
	unsigned int interval_msecs, command_msecs;
	bool condstore;

	struct watch_folders *folders;
	/* what the last LIST said */
	struct watch_digest digest;
	/* lines of the answer to this one, and where it began */
	unsigned int listed;
	uoff_t list_start_bytes;
	/* how often LIST is sent when folders come and go */
	struct watch_pace list_pace;
	/* news of the folder with IDLE came since the last LIST was sent; and
	   between the last two */
	bool heard, heard_before;

	/* of the command that was refused last */
	struct remote_imap_error error;
	char *error_text;

	/* news that is not told yet */
	bool news;
	struct watch_pace pace;
	struct timeout *to_news;
	struct timeout *to_poll, *to_renew, *to_command;

	/* since the flood timer started */
	unsigned int responses;
	uoff_t start_bytes;
	struct timeout *to_flood;
	bool paused;
};

static void watch_input(struct watch *watch, enum watch_input input);

/* Whatever has many watches at once should not have them all at once. */
static unsigned int jitter(unsigned int msecs)
{
	return msecs - msecs / 10 + i_rand_limit(msecs / 5 + 1);
}

/*
 * News
 */

static void watch_news_timeout(struct watch *watch);

/* As soon as there may be news, but not before this. */
static void watch_news_later(struct watch *watch, unsigned int msecs)
{
	uint64_t wait = watch_pace_wait(&watch->pace, monotonic_msecs());

	watch->to_news = timeout_add_short(I_MAX(wait, msecs),
					   watch_news_timeout, watch);
}

static void watch_news_timeout(struct watch *watch)
{
	timeout_remove(&watch->to_news);
	if (!watch->news)
		return;
	watch->news = FALSE;
	watch_pace_told(&watch->pace, monotonic_msecs());
	watch_news_later(watch, NEWS_INTERVAL_MSECS);
	watch->callbacks.changed(watch->context);
}

static void watch_news(struct watch *watch)
{
	watch->news = TRUE;
	if (watch->to_news == NULL)
		watch_news_later(watch, NEWS_FIRST_MSECS);
}

/*
 * Floods
 */

static void watch_flood_timeout(struct watch *watch)
{
	timeout_remove(&watch->to_flood);
	if (watch->paused) {
		watch->paused = FALSE;
		remote_imap_resume(watch->client);
	}
}

static void watch_count_response(struct watch *watch)
{
	uoff_t bytes;

	remote_imap_get_traffic(watch->client, &bytes, NULL);
	if (watch->to_flood == NULL) {
		watch->responses = 0;
		watch->start_bytes = bytes;
		watch->to_flood = timeout_add_short(NEWS_INTERVAL_MSECS,
						    watch_flood_timeout, watch);
	}
	watch->responses++;
	if (!watch->paused &&
	    (watch->responses > FLOOD_RESPONSES ||
	     bytes - watch->start_bytes > FLOOD_BYTES)) {
		watch->paused = TRUE;
		remote_imap_pause(watch->client);
	}
}

/*
 * Failure
 */

static void
watch_fail(struct watch *watch, const struct remote_imap_error *error)
{
	watch->callbacks.failed(error, watch->context);
}

static void
watch_fail_text(struct watch *watch, enum reply_class class,
		unsigned int wait_secs, const char *text)
{
	const struct remote_imap_error error = {
		.class = class, .text = text, .wait_secs = wait_secs,
	};

	watch_fail(watch, &error);
}

static void watch_note_refusal(struct watch *watch,
			       const struct remote_imap_error *error)
{
	i_free(watch->error_text);
	watch->error_text = i_strdup(error->text);
	watch->error = *error;
	watch->error.text = watch->error_text;
	watch->error.detail = NULL;
	e_debug(watch->event, "%s", error->text);
}

/* The kind of answer that leaves no words behind. */
static void watch_note_odd_end(struct watch *watch)
{
	const struct remote_imap_error error = {
		.class = REPLY_CLASS_PROTOCOL,
		.text = "server ended IDLE by itself",
	};

	watch_note_refusal(watch, &error);
}

static void watch_give_up(struct watch *watch)
{
	if (watch->error.wait_secs == 0)
		watch->error.wait_secs = NO_WAY_WAIT_SECS;
	watch_fail(watch, &watch->error);
}

static void watch_command_timeout(struct watch *watch)
{
	watch_fail_text(watch, REPLY_CLASS_PROTOCOL, 0, t_strdup_printf(
		"server talked for %u seconds and did not answer",
		watch->command_msecs / 1000));
}

/*
 * Commands
 */

static void watch_poll_timeout(struct watch *watch)
{
	timeout_remove(&watch->to_poll);
	watch_input(watch, WATCH_INPUT_POLL);
}

static void watch_renew_timeout(struct watch *watch)
{
	timeout_remove(&watch->to_renew);
	watch_input(watch, WATCH_INPUT_RENEW);
}

static void watch_poll_later(struct watch *watch, unsigned int msecs)
{
	timeout_remove(&watch->to_poll);
	watch->to_poll = timeout_add(msecs, watch_poll_timeout, watch);
}

static void watch_listed(struct watch *watch)
{
	const struct watch_fsm *fsm = &watch->fsm;
	struct watch_digest digest;

	watch_folders_end(watch->folders,
			  fsm->ways.idle ? watch->idle_folder : NULL, &digest);
	/* what NOTIFY said meanwhile was taken for part of the answer */
	if (fsm->listed &&
	    (fsm->notifying ||
	     watch_digest_differs(&watch->digest, &digest,
				  watch->heard_before || watch->heard)))
		watch_news(watch);
	watch->digest = digest;
	if (!fsm->ways.notify)
		watch_poll_later(watch, jitter(watch->interval_msecs));
}

static void
watch_replied(const struct remote_imap_reply *reply, void *context)
{
	struct watch *watch = context;

	timeout_remove(&watch->to_command);
	if (reply->status == IMAP_REPLY_LOST) {
		watch_fail(watch, reply->error);
		return;
	}
	if (reply->status != IMAP_REPLY_OK) {
		watch_note_refusal(watch, reply->error);
		watch_folders_abort(watch->folders);
		watch_input(watch, WATCH_INPUT_REFUSED);
		return;
	}
	if (watch->fsm.current == WATCH_ACTION_LIST)
		watch_listed(watch);
	else if (watch->fsm.current == WATCH_ACTION_IDLE)
		watch_note_odd_end(watch);
	watch_input(watch, WATCH_INPUT_OK);
}

static void watch_start_deadline(struct watch *watch)
{
	timeout_remove(&watch->to_command);
	watch->to_command = timeout_add(watch->command_msecs,
					watch_command_timeout, watch);
}

static void watch_command(struct watch *watch, enum reply_step step,
			  const char *command)
{
	watch_start_deadline(watch);
	remote_imap_command(watch->client, step, command, watch_replied, watch);
}

static void watch_send_examine(struct watch *watch)
{
	string_t *cmd = t_str_new(64);

	str_append(cmd, "EXAMINE ");
	remote_imap_quote(cmd, watch->idle_folder);
	watch_command(watch, REPLY_STEP_SELECT, str_c(cmd));
}

static void watch_send_notify(struct watch *watch)
{
	/* flags of folders that are not selected are told by their MODSEQ
	   (RFC 5465, 5.4), to those who know what that is */
	if (watch->condstore &&
	    remote_imap_has_capability(watch->client, "ENABLE")) {
		remote_imap_command(watch->client, REPLY_STEP_OTHER,
				    "ENABLE CONDSTORE", NULL, NULL);
	}
	watch_command(watch, REPLY_STEP_OTHER,
		      "NOTIFY SET (personal (MessageNew MessageExpunge "
		      "FlagChange MailboxName))");
}

static void watch_send_list(struct watch *watch)
{
	watch_folders_begin(watch->folders);
	watch_pace_told(&watch->list_pace, monotonic_msecs());
	watch->listed = 0;
	remote_imap_get_traffic(watch->client, &watch->list_start_bytes, NULL);
	watch->heard_before = watch->heard;
	watch->heard = FALSE;
	/* flags that changed: by MODSEQ, or as far as \Seen goes */
	watch_command(watch, REPLY_STEP_LIST, t_strdup_printf(
		"LIST \"\" \"*\" RETURN (SUBSCRIBED%s STATUS (UIDVALIDITY "
		"UIDNEXT MESSAGES %s))",
		remote_imap_has_capability(watch->client, "SPECIAL-USE") ?
		" SPECIAL-USE" : "",
		watch->condstore ? "HIGHESTMODSEQ" : "UNSEEN"));
}

static void watch_listen(struct watch *watch)
{
	timeout_remove(&watch->to_renew);
	watch->to_renew = timeout_add(jitter(RENEW_MSECS), watch_renew_timeout,
				      watch);
}

static void watch_act(struct watch *watch, enum watch_action action)
{
	switch (action) {
	case WATCH_ACTION_NONE:
		break;
	case WATCH_ACTION_LISTEN:
		watch_listen(watch);
		break;
	case WATCH_ACTION_NOTIFY:
		watch_send_notify(watch);
		break;
	case WATCH_ACTION_LIST:
		watch_send_list(watch);
		break;
	case WATCH_ACTION_EXAMINE:
		watch_send_examine(watch);
		break;
	case WATCH_ACTION_IDLE:
		watch_listen(watch);
		remote_imap_idle(watch->client, watch_replied, watch);
		break;
	case WATCH_ACTION_NOOP:
		watch_command(watch, REPLY_STEP_OTHER, "NOOP");
		break;
	case WATCH_ACTION_DONE:
		watch_start_deadline(watch);
		remote_imap_idle_done(watch->client);
		break;
	case WATCH_ACTION_GIVE_UP:
		watch_give_up(watch);
		break;
	}
}

/* The watch may be gone when this returns. */
static void watch_input(struct watch *watch, enum watch_input input)
{
	enum watch_action action = watch_fsm_next(&watch->fsm, input);
	enum watch_mode mode;
	bool tell = watch_fsm_tell(&watch->fsm, &mode);

	T_BEGIN {
		watch_act(watch, action);
	} T_END;
	if (tell)
		watch->callbacks.watching(mode, watch->context);
}

/*
 * What the server says
 */

/* The numbers by the names they go with, so that their order does not count. */
static unsigned int
status_numbers(const struct imap_arg *items, uint64_t numbers[])
{
	static const char *const names[STATUS_MAX_ITEMS] = {
		"UIDVALIDITY", "UIDNEXT", "MESSAGES", "HIGHESTMODSEQ",
	};
	const char *name, *value;
	unsigned int i;

	memset(numbers, 0, sizeof(*numbers) * (STATUS_MAX_ITEMS + 1));
	for (; imap_arg_get_atom(&items[0], &name) &&
	     imap_arg_get_atom(&items[1], &value); items += 2) {
		for (i = 0; i < N_ELEMENTS(names); i++) {
			if (strcasecmp(names[i], name) == 0)
				break;
		}
		/* one more place for what has no name here: UNSEEN */
		if (str_to_uint64(value, &numbers[i]) < 0)
			numbers[i] = 0;
	}
	return STATUS_MAX_ITEMS + 1;
}

static void watch_list_status(struct watch *watch, const struct imap_arg *args)
{
	uint64_t numbers[STATUS_MAX_ITEMS + 1];
	const struct imap_arg *items;
	const char *name;
	unsigned int count;

	if (!imap_arg_get_astring(&args[0], &name) ||
	    strlen(name) > FOLDER_REMOTE_NAME_MAX ||
	    !imap_arg_get_list(&args[1], &items))
		return;
	count = status_numbers(items, numbers);
	watch_folders_add_status(watch->folders, name, numbers, count);
}

static void watch_list_folder(struct watch *watch, const struct imap_arg *args)
{
	struct folder_listed listed;

	if (remote_list_parse(args, &listed))
		watch_folders_add(watch->folders, &listed);
}

/* Flood control does not look at the answer to LIST, which is large with many
   folders: its size has an end instead. */
static bool watch_list_is_too_big(struct watch *watch)
{
	uoff_t bytes;

	remote_imap_get_traffic(watch->client, &bytes, NULL);
	return bytes - watch->list_start_bytes > MAX_LIST_BYTES;
}

static void watch_fail_list(struct watch *watch)
{
	watch_fail_text(watch, REPLY_CLASS_PROTOCOL, 0, t_strdup_printf(
		"the server's answer to LIST is larger than %u MB",
		MAX_LIST_BYTES / (1024*1024)));
}

/* Returns FALSE if it is no answer to LIST. If TRUE, the watch may be gone. */
static bool watch_list_untagged(struct watch *watch, const char *name,
				const struct imap_arg *args)
{
	bool status = strcmp(name, "STATUS") == 0;

	if (!status && strcmp(name, "LIST") != 0)
		return FALSE;
	if (++watch->listed > MAX_FOLDERS * 2)
		return FALSE;
	if (watch_list_is_too_big(watch))
		watch_fail_list(watch);
	else if (status)
		watch_list_status(watch, args);
	else
		watch_list_folder(watch, args);
	return TRUE;
}

static void watch_notified(struct watch *watch, const struct imap_arg *args)
{
	const char *name;

	if (imap_arg_get_astring(&args[0], &name) &&
	    watch_folders_count(watch->folders, name))
		watch_news(watch);
}

/* Folders come and go: ask what counts now. A few changes are asked about as
   they come; those that go on and on, together. */
static void watch_notified_folder(struct watch *watch)
{
	uint64_t wait = watch_pace_wait(&watch->list_pace, monotonic_msecs());

	if (!watch->fsm.can_list)
		watch_news(watch);
	else if (watch->to_poll == NULL)
		watch_poll_later(watch, I_MAX(wait, NEWS_INTERVAL_MSECS));
}

static void
watch_notify_untagged(struct watch *watch, const char *name,
		      const struct imap_arg *args, const char *code)
{
	if (strcmp(name, "STATUS") == 0)
		watch_notified(watch, args);
	else if (strcmp(name, "LIST") == 0)
		watch_notified_folder(watch);
	else if (code != NULL && strcmp(code, "NOTIFICATIONOVERFLOW") == 0)
		watch_input(watch, WATCH_INPUT_OVERFLOW);
}

static void
watch_untagged(const char *name, uint32_t num ATTR_UNUSED,
	       const struct imap_arg *args, const char *code,
	       const char *code_args ATTR_UNUSED, void *context)
{
	static const char *const folder_news[] = {
		"EXISTS", "EXPUNGE", "FETCH", "VANISHED", NULL
	};
	struct watch *watch = context;

	if (watch->fsm.current == WATCH_ACTION_LIST &&
	    watch_list_untagged(watch, name, args))
		return;
	watch_count_response(watch);
	if (watch->fsm.examined && str_array_find(folder_news, name)) {
		watch->heard = TRUE;
		watch_news(watch);
	} else if (watch->fsm.notifying) {
		watch_notify_untagged(watch, name, args, code);
	}
}

static void watch_closed(void *context)
{
	struct watch *watch = context;

	watch_fail(watch, remote_imap_get_error(watch->client));
}

/*
 * Life
 */

static void watch_logged_in(struct watch *watch)
{
	struct remote_imap *client = watch->client;
	const struct watch_ways offered = {
		.notify = remote_imap_has_capability(client, "NOTIFY"),
		.idle = remote_imap_has_capability(client, "IDLE"),
		.poll = remote_imap_has_capability(client, "LIST-STATUS"),
	};

	watch->condstore = remote_imap_has_capability(client, "CONDSTORE") ||
		remote_imap_has_capability(client, "QRESYNC");
	watch->callbacks.logged_in(watch->context);
	if (!watch_fsm_init(&watch->fsm, &watch->wanted, &offered)) {
		watch_fail_text(watch, REPLY_CLASS_CONFIG, NO_WAY_WAIT_SECS,
			"server has no way to tell of news (NOTIFY, IDLE, "
			"LIST-STATUS) that the account can use");
		return;
	}
	watch_input(watch, WATCH_INPUT_START);
}

static void
watch_connected(const struct remote_imap_reply *reply, void *context)
{
	struct watch *watch = context;

	if (reply->status == IMAP_REPLY_OK)
		watch_logged_in(watch);
	else
		watch_fail(watch, reply->error);
}

static const struct remote_imap_callbacks watch_client_callbacks = {
	.untagged = watch_untagged,
	.closed = watch_closed,
};

/* The names of folders are the server's own, but for their characters. */
static char *watch_folder_name(const char *name)
{
	string_t *str = t_str_new(64);

	if (imap_utf8_to_utf7(name, str) < 0)
		return i_strdup(name);
	return i_strdup(str_c(str));
}

/* The caller's has a secret beside it, which is not kept. */
static void
watch_copy_account(struct watch *watch, const struct account *account)
{
	pool_t pool = pool_alloconly_create("watch account", 512);
	pool_t print_pool = pool_alloconly_create("account settings", 1024);
	const char *error;

	watch->account_pool = pool;
	if (account_parse(pool, p_strdup(pool, account->user),
			  p_strdup(pool, account->name),
			  account_print(print_pool, account, FALSE),
			  &watch->account, &error) < 0)
		i_panic("account_print: %s", error);
	pool_unref(&print_pool);
}

static void
watch_take_account(struct watch *watch, const struct account *account)
{
	watch_copy_account(watch, account);
	watch->folders = watch_folders_init(&watch->account);
	if (account->idle[0] != NULL)
		watch->idle_folder = watch_folder_name(account->idle[0]);
	watch->wanted.idle = watch->idle_folder != NULL;
	watch->wanted.poll = account->interval_secs > 0;
	/* for one folder alone IDLE is as good, and more servers do it well */
	watch->wanted.notify = watch->wanted.poll ||
		(watch->wanted.idle && account->idle[1] != NULL);
	watch->interval_msecs = I_MIN(account->interval_secs, 24*60*60) * 1000;
	watch->command_msecs = account->timeout_secs * COMMAND_TIMEOUTS * 1000;
}

static struct event *watch_event_create(const struct account *account)
{
	struct event *event = event_create(NULL);

	event_set_append_log_prefix(event, t_strdup_printf(
		"%s/%s: ", account->user, account->name));
	event_add_str(event, "user", account->user);
	event_add_str(event, "account", account->name);
	return event;
}

struct watch *
watch_init(const struct account *account,
	   const struct remote_imap_settings *client_set,
	   const struct watch_callbacks *callbacks, void *context)
{
	struct remote_imap_settings set = *client_set;
	struct watch *watch = i_new(struct watch, 1);

	watch->callbacks = *callbacks;
	watch->context = context;
	watch->event = watch_event_create(account);
	watch_take_account(watch, account);

	set.input_buffer_size = INPUT_BUFFER_SIZE;
	set.max_line_size = MAX_LINE_SIZE;
	/* nobody asked for a body */
	set.max_literal_size = 1;
	set.keepalive_secs = KEEPALIVE_SECS;
	set.event_parent = watch->event;
	watch->client = remote_imap_init(&set, &watch_client_callbacks, watch);
	remote_imap_connect(watch->client, watch_connected, watch);
	return watch;
}

/* What is lost now is lost because of us. */
static void watch_ignore_failure(const struct remote_imap_error *error
				 ATTR_UNUSED, void *context ATTR_UNUSED)
{
}

void watch_deinit(struct watch **_watch)
{
	struct watch *watch = *_watch;

	*_watch = NULL;
	watch->callbacks.failed = watch_ignore_failure;
	remote_imap_deinit(&watch->client);
	timeout_remove(&watch->to_news);
	timeout_remove(&watch->to_poll);
	timeout_remove(&watch->to_renew);
	timeout_remove(&watch->to_command);
	timeout_remove(&watch->to_flood);
	event_unref(&watch->event);
	i_free(watch->error_text);
	i_free(watch->idle_folder);
	watch_folders_deinit(&watch->folders);
	pool_unref(&watch->account_pool);
	i_free(watch);
}
