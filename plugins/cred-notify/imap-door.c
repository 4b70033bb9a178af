/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "imap-common.h"
#include "str.h"
#include "ostream.h"
#include "module-context.h"
#include "mail-user.h"
#include "mail-storage-settings.h"
#include "imap-client.h"
#include "dovecot-compat.h"
#include "cred-settings-imap.h"
#include "imap-feed.h"
#include "imap-door.h"

/* How soon to look again whether the end of a long answer was sent */
#define DOOR_BLOCKED_MSECS 100

/* What Dovecot forgets of a session that it hibernates, in front of its own
   state: 'S' if it is secured, 'K' if its client is skipped, LF */
#define DOOR_STATE "cred-notify:"
#define DOOR_STATE_SIZE (strlen(DOOR_STATE) + 3)

struct door {
	union imap_module_context module_ctx;
	struct client *client;
	struct imap_show_settings set;
	/* NULL: not in this session */
	struct imap_show *show;
	struct imap_feed *feed;
	struct timeout *to_show, *to_id;
	/* until the session is old enough */
	struct timeout *to_settle;
	bool secured:1, unhibernated:1, skipped:1;
};

static MODULE_CONTEXT_DEFINE_INIT(door_module, &imap_module_register);
#define DOOR_CONTEXT(client) MODULE_CONTEXT(client, door_module)

static imap_client_created_func_t *next_client_created;

const char *imap_cred_notify_plugin_version = DOVECOT_ABI_VERSION;
/* symbols of the imap process */
const char imap_cred_notify_plugin_binary_dependency[] = "imap";

static void door_show(struct door *door);

/* Nothing is ever shown from inside a command or out of the feed's input: by
   then the client or the feed may be going. */
static void door_show_in(struct door *door, unsigned int msecs)
{
	timeout_remove(&door->to_show);
	door->to_show = timeout_add_short(msecs, door_show, door);
}

static bool client_is_idling(const struct client *client)
{
	const struct client_command_context *cmd;

	for (cmd = client->command_queue; cmd != NULL; cmd = cmd->next) {
		if (cmd->name != NULL && strcasecmp(cmd->name, "IDLE") == 0)
			return TRUE;
	}
	return FALSE;
}

static void
door_say(struct door *door, const struct imap_show_notice *notice)
{
	/* not kept anywhere: COMPRESS puts another in its place */
	struct ostream *output = door->client->output;
	const char *start = door->set.warning ? "* NO [ALERT] " :
		"* OK [ALERT] ";

	o_stream_cork(output);
	client_send_line(door->client, t_strconcat(start, notice->text, NULL));
	o_stream_uncork(output);
	imap_feed_shown(door->feed, notice->id);
	imap_show_done(door->show, notice->id);
}

static void door_close(struct door *door)
{
	timeout_remove(&door->to_show);
	timeout_remove(&door->to_id);
	timeout_remove(&door->to_settle);
	if (door->feed != NULL)
		imap_feed_deinit(&door->feed);
	if (door->show != NULL)
		imap_show_deinit(&door->show);
}

static void door_show(struct door *door)
{
	struct client *client = door->client;
	const struct imap_show_session session = {
		.idling = client_is_idling(client),
		.settled = door->to_settle == NULL,
		.output_locked = client->output_cmd_lock != NULL,
	};
	struct imap_show_notice notice;
	enum imap_show_verdict verdict = IMAP_SHOW_NOTHING;

	timeout_remove(&door->to_show);
	if (imap_show_is_skipped(door->show)) {
		door->skipped = TRUE;
		door_close(door);
		return;
	}
	while (!client->disconnected &&
	       (verdict = imap_show_next(door->show, &session,
					 &notice)) == IMAP_SHOW_NOW) T_BEGIN {
		door_say(door, &notice);
	} T_END;
	if (verdict == IMAP_SHOW_BLOCKED)
		door_show_in(door, DOOR_BLOCKED_MSECS);
}

static void door_id_timeout(struct door *door)
{
	timeout_remove(&door->to_id);
	imap_show_id_timeout(door->show);
	door_show(door);
}

static void door_settled(struct door *door)
{
	timeout_remove(&door->to_settle);
	door_show(door);
}

static void door_wait(struct door *door)
{
	unsigned int secs;

	if (imap_show_waits_for_id(door->show)) {
		door->to_id = timeout_add_short(IMAP_SHOW_ID_WAIT_MSECS,
						door_id_timeout, door);
	}
	/* one that has slept is old */
	if (door->set.delay_secs > 0 && !door->unhibernated) {
		secs = I_MIN(door->set.delay_secs, IMAP_SHOW_MAX_DELAY_SECS);
		door->to_settle = timeout_add(secs * 1000, door_settled, door);
	}
}

static void door_feed_line(void *context, const struct feed_line *line)
{
	struct door *door = context;

	if (line->word == FEED_GONE)
		imap_show_gone(door->show, line->id);
	else if (imap_show_add(door->show, line->channel, line->id,
			       line->text))
		door_show_in(door, 0);
	else
		imap_feed_shown(door->feed, line->id);
}

static void door_feed_lost(void *context)
{
	struct door *door = context;

	imap_show_forget_waiting(door->show);
}

static const struct imap_feed_callbacks door_feed_callbacks = {
	.line = door_feed_line,
	.lost = door_feed_lost,
};

static void door_open(struct door *door)
{
	struct client *client = door->client;
	struct mail_user *user = client->user;
	const struct feed_line sub = {
		.word = FEED_SUB,
		.user = user->username,
		.session = user->session_id == NULL ? "" : user->session_id,
		.secured = door->secured,
		.unhibernated = door->unhibernated,
	};

	if (door->skipped || !imap_show_is_wanted(&door->set, door->secured))
		return;
	door->show = imap_show_init(&door->set);
	door->feed = imap_feed_init(t_strdup_printf("%s/"FEED_SOCKET,
						    user->set->base_dir),
				    &sub, client->event,
				    &door_feed_callbacks, door);
	if (door->feed == NULL)
		imap_show_deinit(&door->show);
	else
		door_wait(door);
}

/* Here the answer to the login was sent already. */
static void door_client_init(struct client *client)
{
	struct door *door = DOOR_CONTEXT(client);
	const char *error;

	door->module_ctx.super.init(client);
	if (cred_settings_imap_get(client->pool, client->user, &door->set,
				   &error) < 0) {
		e_error(client->event, "cred-notify: %s", error);
		door->set.mode = IMAP_SHOW_NO;
		return;
	}
	door->secured = compat_conn_is_secured(&client->user->conn);
	door_open(door);
}

static void door_client_destroy(struct client *client, const char *reason)
{
	struct door *door = DOOR_CONTEXT(client);

	door_close(door);
	door->module_ctx.super.destroy(client, reason);
}

static int door_state_export(struct client *client, bool internal,
			     buffer_t *dest, const char **error_r)
{
	struct door *door = DOOR_CONTEXT(client);

	if (internal && door->show != NULL &&
	    !imap_show_may_hibernate(door->show)) {
		*error_r = "cred-notify: cred_notify_imap_hibernate";
		return 0;
	}
	if (internal) {
		str_printfa(dest, DOOR_STATE"%c%c\n",
			    door->secured ? 'S' : '-',
			    door->skipped ? 'K' : '-');
	}
	return door->module_ctx.super.state_export(client, internal, dest,
						   error_r);
}

/* Awake again, after init(). */
static ssize_t
door_state_import(struct client *client, bool internal,
		  const unsigned char *data, size_t size, const char **error_r)
{
	struct door *door = DOOR_CONTEXT(client);

	if (!internal || size < DOOR_STATE_SIZE ||
	    memcmp(data, DOOR_STATE, strlen(DOOR_STATE)) != 0)
		return door->module_ctx.super.state_import(client, internal,
							   data, size, error_r);
	data += strlen(DOOR_STATE);
	door->secured = data[0] == 'S';
	door->skipped = data[1] == 'K';
	door->unhibernated = TRUE;
	door_close(door);
	door_open(door);
	return DOOR_STATE_SIZE;
}

static void door_client_created(struct client **clientp)
{
	struct client *client = *clientp;
	struct door *door = p_new(client->pool, struct door, 1);

	door->client = client;
	door->module_ctx.super = client->v;
	client->v.init = door_client_init;
	client->v.destroy = door_client_destroy;
	client->v.state_export = door_state_export;
	client->v.state_import = door_state_import;
	MODULE_CONTEXT_SET(client, door_module, door);

	if (next_client_created != NULL)
		next_client_created(clientp);
}

static void door_command_begins(struct client_command_context *cmd ATTR_UNUSED)
{
}

/* A part of a command is done: perhaps this was what notices wait for. */
static void door_command_ran(struct client_command_context *cmd)
{
	struct door *door = DOOR_CONTEXT(cmd->client);

	if (door == NULL || door->show == NULL)
		return;
	T_BEGIN {
		imap_show_command(door->show, cmd->name, cmd->args);
	} T_END;
	door_show_in(door, 0);
}

void imap_cred_notify_plugin_init(struct module *module ATTR_UNUSED)
{
	imap_feeds_init();
	command_hook_register(door_command_begins, door_command_ran);
	next_client_created =
		imap_client_created_hook_set(door_client_created);
}

void imap_cred_notify_plugin_deinit(void)
{
	imap_client_created_hook_set(next_client_created);
	command_hook_unregister(door_command_begins, door_command_ran);
	imap_feeds_deinit();
}
