/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "str.h"
#include "imap-date.h"
#include "imap-util.h"
#include "redact.h"
#include "remote-list.h"
#include "spool.h"
#include "source-imap.h"

/* one FETCH asks for so many bodies at most, and about so many bytes */
#define FETCH_MAX_MESSAGES 200
#define FETCH_MAX_BYTES (4*1024*1024)
/* The next FETCH is sent when so little of this one is still to come that the
   server has surely sent it: servers answer two commands at once, and the mail
   would come out of order, if the first has to wait for us. */
#define FETCH_AHEAD_BYTES (32*1024)
#define FETCH_PIPELINE 2
/* RFC 7162, 4: longer command lines are not safe */
#define FETCH_MAX_SET_LENGTH 6000
/* untagged responses to what is under way at once: a listing is the largest */
#define MAX_RESPONSES (SOURCE_MAX_FOLDERS * 50)
/* keywords of one message, and length of one (Dovecot's own limit) */
#define MAX_KEYWORDS 100
#define MAX_KEYWORD_LENGTH 50
#define STATUS_ITEMS "UIDVALIDITY UIDNEXT MESSAGES"

typedef void source_untagged_t(struct source_imap *source, const char *name,
			       uint32_t num, const struct imap_arg *args,
			       const char *code, const char *code_args);

struct source_imap {
	struct source_imap_settings set;
	struct remote_imap *client;
	bool condstore;

	/* commands whose tagged reply is awaited */
	unsigned int outstanding;
	/* untagged responses since the last call began */
	unsigned int responses;
	bool failed;
	/* nothing more is expected of this server */
	bool given_up;
	struct remote_imap_error error;
	char *error_text, *error_detail;

	/* who hears untagged responses now, and what they are put into */
	source_untagged_t *untagged;
	pool_t pool;
	ARRAY_TYPE(source_folder) *folders;
	ARRAY_TYPE(sync_message) *messages;
	struct source_folder *const *status_folders;
	unsigned int status_count;
	struct sync_status *status;
	bool overflow;

	/* bodies */
	struct source_item *items;
	unsigned int item_count, next_item;
	/* asked for and not here, by the sizes the server told */
	uoff_t awaited_bytes;
	struct spool *spool;
	bool spool_too_large;
	source_message_callback_t *message_callback;
	void *message_context;
};

/*
 * Errors, waiting
 */

static void source_set_error(struct source_imap *source, enum reply_class class,
			     const char *text, unsigned int wait_secs)
{
	if (source->failed)
		return;
	source->failed = TRUE;
	i_free(source->error_text);
	source->error_text = i_strdup(text);
	source->error.class = class;
	source->error.text = source->error_text;
	source->error.wait_secs = wait_secs;
}

static void source_set_client_error(struct source_imap *source,
				    const struct remote_imap_error *error)
{
	if (!source->failed) {
		i_free(source->error_detail);
		source->error_detail = i_strdup(error->detail);
		source->error.detail = source->error_detail;
		source->error.hint = error->hint;
	}
	source_set_error(source, error->class, error->text, error->wait_secs);
}

const struct remote_imap_error *
source_imap_get_error(struct source_imap *source)
{
	return &source->error;
}

int source_imap_wait(struct source_imap *source, bool (*done)(void *context),
		     void *context)
{
	struct ioloop_context *ioctx =
		io_loop_get_current_context(current_ioloop);
	const struct remote_imap_error *error;

	while (!done(context)) {
		if (source->set.is_stopped(source->set.context)) {
			source_set_error(source, REPLY_CLASS_STOPPED,
					 "the run was stopped", 0);
			break;
		}
		if (source->given_up)
			break;
		error = remote_imap_get_error(source->client);
		if (error != NULL && source->outstanding == 0) {
			source_set_client_error(source, error);
			break;
		}
		io_loop_run(current_ioloop);
	}
	/* io_loop_run() leaves without the mail user's context */
	if (ioctx != NULL)
		io_loop_context_switch(ioctx);
	return source->failed ? -1 : 0;
}

static bool source_is_idle(void *context)
{
	struct source_imap *source = context;

	return source->outstanding == 0;
}

static int source_wait_replies(struct source_imap *source)
{
	int ret = source_imap_wait(source, source_is_idle, source);

	source->untagged = NULL;
	return ret;
}

static void source_replied(struct source_imap *source)
{
	i_assert(source->outstanding > 0);
	source->outstanding--;
	io_loop_stop(current_ioloop);
}

/* The usual reply: anything but OK fails the call. */
static void source_reply(const struct remote_imap_reply *reply,
			 struct source_imap *source)
{
	if (reply->status != IMAP_REPLY_OK)
		source_set_client_error(source, reply->error);
	source_replied(source);
}

static void source_reply_callback(const struct remote_imap_reply *reply,
				  void *context)
{
	source_reply(reply, context);
}

/* For commands that may fail. */
static void source_reply_ignore(const struct remote_imap_reply *reply,
				void *context)
{
	struct source_imap *source = context;

	if (reply->status == IMAP_REPLY_LOST)
		source_set_client_error(source, reply->error);
	source_replied(source);
}

static void source_command(struct source_imap *source, enum reply_step step,
			   const char *command,
			   remote_imap_reply_callback_t *callback)
{
	source->outstanding++;
	remote_imap_command(source->client, step, command, callback, source);
}

static int source_begin(struct source_imap *source)
{
	const struct remote_imap_error *error =
		remote_imap_get_error(source->client);

	source->failed = source->given_up;
	source->responses = 0;
	if (error == NULL)
		return source->given_up ? -1 : 0;
	source_set_client_error(source, error);
	return -1;
}

/*
 * Untagged responses
 */

static void
source_untagged(const char *name, uint32_t num, const struct imap_arg *args,
		const char *code, const char *code_args, void *context)
{
	struct source_imap *source = context;

	if (++source->responses > MAX_RESPONSES) {
		source_set_error(source, REPLY_CLASS_PROTOCOL,
				 "the server does not stop sending", 0);
		source->given_up = TRUE;
		io_loop_stop(current_ioloop);
	} else if (source->untagged != NULL)
		source->untagged(source, name, num, args, code, code_args);
}

/* Value of a "NAME value" pair in a list, or NULL. */
static const struct imap_arg *
source_list_find(const struct imap_arg *list, const char *name)
{
	const char *key;

	for (; !IMAP_ARG_IS_EOL(&list[0]); list += 2) {
		if (IMAP_ARG_IS_EOL(&list[1]))
			break;
		if (imap_arg_get_atom(&list[0], &key) &&
		    strcasecmp(key, name) == 0)
			return &list[1];
	}
	return NULL;
}

static uint64_t
source_list_number(const struct imap_arg *list, const char *name)
{
	const struct imap_arg *arg = source_list_find(list, name);
	const struct imap_arg *inner;
	const char *value;
	uint64_t num;

	if (arg == NULL)
		return 0;
	/* MODSEQ (n) */
	if (imap_arg_get_list(arg, &inner))
		arg = inner;
	if (!imap_arg_get_atom(arg, &value) || str_to_uint64(value, &num) < 0)
		return 0;
	return num;
}

static uint32_t source_uint32(uint64_t num)
{
	return num > UINT32_MAX ? 0 : num;
}

static void
source_status_parse(const struct imap_arg *list, struct sync_status *status_r)
{
	status_r->uidvalidity =
		source_uint32(source_list_number(list, "UIDVALIDITY"));
	status_r->uidnext = source_uint32(source_list_number(list, "UIDNEXT"));
	status_r->messages =
		source_uint32(source_list_number(list, "MESSAGES"));
	status_r->highestmodseq = source_list_number(list, "HIGHESTMODSEQ");
}

/*
 * LIST, STATUS
 */

static struct source_folder *
source_find_folder(struct source_imap *source, const char *name)
{
	struct source_folder *folder;

	/* a STATUS follows its LIST line: look from the end */
	for (unsigned int i = array_count(source->folders); i > 0; i--) {
		folder = array_idx_modifiable(source->folders, i - 1);
		if (strcmp(folder->listed.remote_name, name) == 0)
			return folder;
	}
	return NULL;
}

static void
source_listed(struct source_imap *source, const struct imap_arg *args)
{
	struct source_folder *folder;
	struct folder_listed listed;

	if (!remote_list_parse(args, &listed))
		return;
	if (array_count(source->folders) >= SOURCE_MAX_FOLDERS) {
		source_set_error(source, REPLY_CLASS_PROTOCOL,
				 t_strdup_printf("the server lists more than "
						 "%u folders",
						 SOURCE_MAX_FOLDERS), 0);
		return;
	}
	folder = array_append_space(source->folders);
	folder->listed = listed;
	folder->listed.remote_name = p_strdup(source->pool,
					      listed.remote_name);
}

static void
source_status(struct source_imap *source, const struct imap_arg *args)
{
	const struct imap_arg *items;
	const char *name;
	struct source_folder *folder = NULL;
	unsigned int i;

	if (!imap_arg_get_astring(&args[0], &name) ||
	    !imap_arg_get_list(&args[1], &items))
		return;
	if (source->folders != NULL)
		folder = source_find_folder(source, name);
	for (i = 0; i < source->status_count && folder == NULL; i++) {
		if (strcmp(source->status_folders[i]->listed.remote_name,
			   name) == 0)
			folder = source->status_folders[i];
	}
	if (folder != NULL)
		source_status_parse(items, &folder->status);
}

static void
source_subscribed(struct source_imap *source, const struct imap_arg *args)
{
	struct source_folder *folder;
	const char *name;

	if (IMAP_ARG_IS_EOL(&args[0]) || IMAP_ARG_IS_EOL(&args[1]) ||
	    !imap_arg_get_astring(&args[2], &name))
		return;
	folder = source_find_folder(source, name);
	if (folder != NULL)
		folder->listed.subscribed = TRUE;
}

static void
source_list_untagged(struct source_imap *source, const char *name,
		     uint32_t num ATTR_UNUSED, const struct imap_arg *args,
		     const char *code ATTR_UNUSED,
		     const char *code_args ATTR_UNUSED)
{
	if (strcmp(name, "LIST") == 0)
		source_listed(source, args);
	else if (strcmp(name, "STATUS") == 0)
		source_status(source, args);
	else if (strcmp(name, "LSUB") == 0)
		source_subscribed(source, args);
}

static const char *source_status_items(struct source_imap *source)
{
	return source->condstore ? STATUS_ITEMS" HIGHESTMODSEQ" : STATUS_ITEMS;
}

static const char *source_list_command(struct source_imap *source)
{
	struct remote_imap *client = source->client;
	string_t *cmd = t_str_new(128);

	str_append(cmd, "LIST \"\" \"*\"");
	if (!remote_imap_has_capability(client, "LIST-EXTENDED"))
		return str_c(cmd);
	str_append(cmd, " RETURN (SUBSCRIBED");
	if (remote_imap_has_capability(client, "SPECIAL-USE"))
		str_append(cmd, " SPECIAL-USE");
	if (remote_imap_has_capability(client, "LIST-STATUS")) {
		str_printfa(cmd, " STATUS (%s)", source_status_items(source));
	}
	str_append_c(cmd, ')');
	return str_c(cmd);
}

int source_imap_list(struct source_imap *source, pool_t pool, bool want_lsub,
		     ARRAY_TYPE(source_folder) *folders_r)
{
	if (source_begin(source) < 0)
		return -1;
	source->untagged = source_list_untagged;
	source->pool = pool;
	source->folders = folders_r;
	source_command(source, REPLY_STEP_LIST, source_list_command(source),
		       source_reply_callback);
	if (want_lsub &&
	    !remote_imap_has_capability(source->client, "LIST-EXTENDED")) {
		source_command(source, REPLY_STEP_LIST, "LSUB \"\" \"*\"",
			       source_reply_callback);
	}
	(void)source_wait_replies(source);
	source->folders = NULL;
	return source->failed ? -1 : 0;
}

int source_imap_status(struct source_imap *source,
		       struct source_folder *const *folders,
		       unsigned int count)
{
	string_t *cmd = t_str_new(256);
	unsigned int i;

	if (source_begin(source) < 0)
		return -1;
	source->untagged = source_list_untagged;
	source->status_folders = folders;
	source->status_count = count;
	for (i = 0; i < count; i++) {
		str_truncate(cmd, 0);
		str_append(cmd, "STATUS ");
		remote_imap_quote(cmd, folders[i]->listed.remote_name);
		str_printfa(cmd, " (%s)", source_status_items(source));
		source_command(source, REPLY_STEP_SELECT, str_c(cmd),
			       source_reply_ignore);
	}
	(void)source_wait_replies(source);
	source->status_count = 0;
	return source->failed ? -1 : 0;
}

bool source_imap_has_condstore(struct source_imap *source)
{
	return source->condstore;
}

/*
 * EXAMINE
 */

static void
source_examine_untagged(struct source_imap *source, const char *name,
			uint32_t num, const struct imap_arg *args ATTR_UNUSED,
			const char *code, const char *code_args)
{
	struct sync_status *status = source->status;
	uint64_t value;

	if (strcmp(name, "EXISTS") == 0)
		status->messages = num;
	if (code == NULL || code_args == NULL ||
	    str_to_uint64(code_args, &value) < 0)
		return;
	if (strcasecmp(code, "UIDVALIDITY") == 0)
		status->uidvalidity = source_uint32(value);
	else if (strcasecmp(code, "UIDNEXT") == 0)
		status->uidnext = source_uint32(value);
	else if (strcasecmp(code, "HIGHESTMODSEQ") == 0)
		status->highestmodseq = value;
}

int source_imap_examine(struct source_imap *source, const char *remote_name,
			struct sync_status *status_r)
{
	string_t *cmd = t_str_new(256);

	i_zero(status_r);
	if (source_begin(source) < 0)
		return -1;
	source->untagged = source_examine_untagged;
	source->status = status_r;
	str_append(cmd, "EXAMINE ");
	remote_imap_quote(cmd, remote_name);
	if (source->condstore)
		str_append(cmd, " (CONDSTORE)");
	source_command(source, REPLY_STEP_SELECT, str_c(cmd),
		       source_reply_callback);
	(void)source_wait_replies(source);
	source->status = NULL;
	return source->failed ? -1 : 0;
}

/*
 * Listing messages
 */

static bool source_keyword_is_valid(const char *keyword)
{
	const unsigned char *p = (const unsigned char *)keyword;
	size_t len = strlen(keyword);

	if (len == 0 || len > MAX_KEYWORD_LENGTH || keyword[0] == '\\')
		return FALSE;
	for (; *p != '\0'; p++) {
		if (*p <= ' ' || *p >= 0x7f || strchr("(){%*\"\\]", *p) != NULL)
			return FALSE;
	}
	return TRUE;
}

static int keyword_cmp(const char *const *a, const char *const *b)
{
	return strcmp(*a, *b);
}

static void source_flags_parse(pool_t pool, const struct imap_arg *list,
			       struct sync_message *message)
{
	ARRAY_TYPE(const_string) keywords;
	const char *atom, *keyword;
	enum mail_flags flag;

	p_array_init(&keywords, pool, 2);
	for (; imap_arg_get_atom(list, &atom); list++) {
		if (atom[0] == '\\') {
			flag = imap_parse_system_flag(atom);
			message->flags |= flag & ENUM_NEGATE(MAIL_RECENT);
		} else if (source_keyword_is_valid(atom) &&
			   array_count(&keywords) < MAX_KEYWORDS) {
			keyword = p_strdup(pool, atom);
			array_push_back(&keywords, &keyword);
		}
	}
	array_sort(&keywords, keyword_cmp);
	array_append_zero(&keywords);
	message->keywords = array_front(&keywords);
}

static void source_date_parse(const struct imap_arg *arg,
			      struct sync_message *message)
{
	const char *value;

	if (arg == NULL || !imap_arg_get_string(arg, &value) ||
	    !imap_parse_datetime(value, &message->received_time,
				 &message->received_tz_mins) ||
	    message->received_time < 0 ||
	    /* as far as dates in mail indexes go */
	    message->received_time > (time_t)UINT32_MAX)
		message->received_time = 0;
}

static void
source_messages_untagged(struct source_imap *source, const char *name,
			 uint32_t num ATTR_UNUSED,
			 const struct imap_arg *args,
			 const char *code ATTR_UNUSED,
			 const char *code_args ATTR_UNUSED)
{
	const struct imap_arg *list, *flags;
	const struct imap_arg *flags_arg;
	struct sync_message *message;
	uint32_t uid;

	if (strcmp(name, "FETCH") != 0 || !imap_arg_get_list(args, &list))
		return;
	uid = source_uint32(source_list_number(list, "UID"));
	flags_arg = source_list_find(list, "FLAGS");
	/* anything else is unsolicited */
	if (uid == 0 || flags_arg == NULL ||
	    !imap_arg_get_list(flags_arg, &flags))
		return;
	if (array_count(source->messages) >= SOURCE_MAX_LISTING) {
		source->overflow = TRUE;
		return;
	}
	message = array_append_space(source->messages);
	message->uid = uid;
	source_flags_parse(source->pool, flags, message);
	message->size = source_list_number(list, "RFC822.SIZE");
	source_date_parse(source_list_find(list, "INTERNALDATE"), message);
	message->flags_only = source_list_find(list, "RFC822.SIZE") == NULL;
}

static int
sync_message_cmp(const struct sync_message *a, const struct sync_message *b)
{
	if (a->uid != b->uid)
		return a->uid < b->uid ? -1 : 1;
	/* the one that says more comes first */
	return (a->flags_only ? 1 : 0) - (b->flags_only ? 1 : 0);
}

/* In rising order, each once, and only those asked for: "n:*" always
   brings the last message, servers send news of others at any time. */
static void source_messages_tidy(const struct source_range *range,
				 ARRAY_TYPE(sync_message) *messages)
{
	struct sync_message *list;
	unsigned int i, count, out = 0;

	array_sort(messages, sync_message_cmp);
	list = array_get_modifiable(messages, &count);
	for (i = 0; i < count; i++) {
		if (!range->by_seq && (list[i].uid < range->first ||
				       (range->last != 0 &&
					list[i].uid > range->last)))
			continue;
		if (out > 0 && list[out - 1].uid == list[i].uid)
			continue;
		if (!range->flags_only && list[i].flags_only)
			continue;
		list[out++] = list[i];
	}
	array_delete(messages, out, count - out);
}

static const char *source_range_command(const struct source_range *range)
{
	string_t *cmd = t_str_new(128);

	str_printfa(cmd, "%sFETCH %u:", range->by_seq ? "" : "UID ",
		    range->first);
	if (range->last == 0)
		str_append_c(cmd, '*');
	else
		str_printfa(cmd, "%u", range->last);
	str_append(cmd, range->flags_only ? " (UID FLAGS)" :
		   " (UID FLAGS INTERNALDATE RFC822.SIZE)");
	if (range->changed_since != 0) {
		str_printfa(cmd, " (CHANGEDSINCE %"PRIu64")",
			    range->changed_since);
	}
	return str_c(cmd);
}

int source_imap_list_messages(struct source_imap *source,
			      const struct source_range *range, pool_t pool,
			      ARRAY_TYPE(sync_message) *messages_r)
{
	if (source_begin(source) < 0)
		return -1;
	source->untagged = source_messages_untagged;
	source->pool = pool;
	source->messages = messages_r;
	source->overflow = FALSE;
	source_command(source, REPLY_STEP_FETCH, source_range_command(range),
		       source_reply_callback);
	(void)source_wait_replies(source);
	source->messages = NULL;
	if (source->failed)
		return -1;
	source_messages_tidy(range, messages_r);
	return source->overflow ? 1 : 0;
}

/*
 * Bodies
 */

static int source_item_cmp(const uint32_t *uid, const struct source_item *item)
{
	return *uid < item->uid ? -1 : (*uid > item->uid ? 1 : 0);
}

static struct source_item *
source_find_item(struct source_imap *source, uint32_t uid)
{
	return bsearch(&uid, source->items, source->item_count,
		       sizeof(*source->items),
		       (int (*)(const void *, const void *))source_item_cmp);
}

/* The item that the literal belongs to is the last but one. */
static bool source_literal_is_body(const struct imap_arg *args)
{
	const struct imap_arg *list;
	const char *name;

	if (!imap_arg_get_list(args, &list) || IMAP_ARG_IS_EOL(&list[0]))
		return FALSE;
	for (; !IMAP_ARG_IS_EOL(&list[1]); list++) {
		if (IMAP_ARG_IS_EOL(&list[2])) {
			return imap_arg_get_atom(&list[0], &name) &&
				strcasecmp(name, "BODY[]") == 0;
		}
	}
	return FALSE;
}

static bool
source_literal_begin(uint32_t seq ATTR_UNUSED,
		     const struct imap_arg *args_before, uoff_t size,
		     void *context)
{
	struct source_imap *source = context;

	/* a part of a message is not taken for all of it */
	if (!source_literal_is_body(args_before))
		return FALSE;
	spool_unref(&source->spool);
	source->spool_too_large = FALSE;
	if (source->items == NULL)
		return FALSE;
	if (source->set.max_message_size != 0 &&
	    size > source->set.max_message_size) {
		source->spool_too_large = TRUE;
		return FALSE;
	}
	source->spool = spool_create(source->set.temp_prefix);
	return TRUE;
}

static void source_spool_failed(struct source_imap *source)
{
	source_set_error(source, REPLY_CLASS_LOCAL,
			 spool_get_error(source->spool), 0);
	spool_unref(&source->spool);
	io_loop_stop(current_ioloop);
}

static void source_literal_data(const unsigned char *data, size_t size,
				void *context)
{
	struct source_imap *source = context;

	if (source->spool != NULL &&
	    spool_append(source->spool, data, size) < 0)
		source_spool_failed(source);
}

static void source_literal_end(void *context)
{
	struct source_imap *source = context;

	if (source->spool != NULL && spool_finish(source->spool) < 0)
		source_spool_failed(source);
}

static void source_fetch_more(struct source_imap *source);

static void
source_fetch_untagged(struct source_imap *source, const char *name,
		      uint32_t num ATTR_UNUSED, const struct imap_arg *args,
		      const char *code ATTR_UNUSED,
		      const char *code_args ATTR_UNUSED)
{
	const struct imap_arg *list;
	struct source_item *item;
	struct spool *spool = source->spool;

	if (strcmp(name, "FETCH") != 0 || !imap_arg_get_list(args, &list))
		return;
	source->spool = NULL;
	item = source_find_item(source, source_uint32(
		source_list_number(list, "UID")));
	/* never asked for, or here already */
	if (item == NULL || item->result == SOURCE_ITEM_RECEIVED) {
		spool_unref(&spool);
		return;
	}
	source->awaited_bytes -= I_MIN(item->size, source->awaited_bytes);
	if (source->spool_too_large)
		item->result = SOURCE_ITEM_TOO_LARGE;
	else if (spool != NULL) {
		item->result = SOURCE_ITEM_RECEIVED;
		source->message_callback(item->uid, spool,
					 source->message_context);
	} else if (source_list_find(list, "FLAGS") == NULL ||
		   source_list_find(list, "BODY[]") != NULL) {
		item->result = SOURCE_ITEM_NO_BODY;
	}
	source->spool_too_large = FALSE;
	source_fetch_more(source);
}

static void source_append_uids(string_t *set, uint32_t first, uint32_t last)
{
	if (str_len(set) > 0)
		str_append_c(set, ',');
	str_printfa(set, "%u", first);
	if (last > first)
		str_printfa(set, ":%u", last);
}

/* Take the next items into a set. Adjacent UIDs become a range. */
static const char *source_next_set(struct source_imap *source)
{
	const struct source_item *items = source->items;
	string_t *set = t_str_new(512);
	unsigned int n = 0;
	uoff_t bytes = 0;
	uint32_t first = 0, last = 0;

	while (source->next_item < source->item_count &&
	       n < FETCH_MAX_MESSAGES && bytes < FETCH_MAX_BYTES &&
	       str_len(set) < FETCH_MAX_SET_LENGTH) {
		const struct source_item *item = &items[source->next_item++];

		if (last == 0 || item->uid != last + 1) {
			if (last != 0)
				source_append_uids(set, first, last);
			first = item->uid;
		}
		last = item->uid;
		bytes += item->size;
		n++;
	}
	source->awaited_bytes += bytes;
	if (last != 0)
		source_append_uids(set, first, last);
	return str_c(set);
}

struct source_batch {
	struct source_imap *source;
	unsigned int first, end;
};

static void
source_batch_refused(struct source_batch *batch,
		     const struct remote_imap_reply *reply)
{
	struct source_imap *source = batch->source;
	const char *text;
	unsigned int i;

	if (reply->status == IMAP_REPLY_LOST ||
	    !reply_class_is_contained(reply->error->class)) {
		source_set_client_error(source, reply->error);
		return;
	}
	/* nobody asks any more */
	if (source->items == NULL)
		return;
	text = p_strdup(source->pool, reply->error->text);
	for (i = batch->first; i < batch->end; i++) {
		source->items[i].refusal = text;
		source->items[i].passing = reply->error->passing;
	}
}

static void source_batch_reply(const struct remote_imap_reply *reply,
			       void *context)
{
	struct source_batch *batch = context;
	struct source_imap *source = batch->source;

	if (reply->status != IMAP_REPLY_OK)
		source_batch_refused(batch, reply);
	i_free(batch);
	source->outstanding--;
	/* what did not come by now does not come */
	if (source->outstanding == 0)
		source->awaited_bytes = 0;
	source_fetch_more(source);
	io_loop_stop(current_ioloop);
}

static void source_fetch_more(struct source_imap *source)
{
	struct source_batch *batch;

	while (source->outstanding < FETCH_PIPELINE && !source->failed &&
	       source->awaited_bytes <= FETCH_AHEAD_BYTES &&
	       source->next_item < source->item_count) T_BEGIN {
		batch = i_new(struct source_batch, 1);
		batch->source = source;
		batch->first = source->next_item;
		const char *set = source_next_set(source);
		batch->end = source->next_item;
		source->outstanding++;
		remote_imap_command(source->client, REPLY_STEP_FETCH,
			t_strdup_printf("UID FETCH %s (UID BODY.PEEK[])", set),
			source_batch_reply, batch);
	} T_END;
}

int source_imap_fetch(struct source_imap *source, pool_t pool,
		      struct source_item *items, unsigned int count,
		      source_message_callback_t *callback, void *context)
{
	if (source_begin(source) < 0)
		return -1;
	source->untagged = source_fetch_untagged;
	source->pool = pool;
	source->items = items;
	source->item_count = count;
	source->next_item = 0;
	source->awaited_bytes = 0;
	source->message_callback = callback;
	source->message_context = context;
	source_fetch_more(source);
	(void)source_wait_replies(source);
	spool_unref(&source->spool);
	source->items = NULL;
	source->item_count = 0;
	return source->failed ? -1 : 0;
}

void source_imap_pause(struct source_imap *source)
{
	remote_imap_pause(source->client);
}

void source_imap_resume(struct source_imap *source)
{
	remote_imap_resume(source->client);
}

void source_imap_get_traffic(struct source_imap *source, uoff_t *in_r,
			     uoff_t *out_r)
{
	remote_imap_get_traffic(source->client, in_r, out_r);
}

/*
 * Connection
 */

static void
source_step(enum remote_imap_step step, const char *detail,
	    const struct remote_imap_error *error, void *context)
{
	struct source_imap *source = context;

	if (source->set.step != NULL)
		source->set.step(step, detail, error, source->set.context);
}

static const struct remote_imap_callbacks source_callbacks = {
	.step = source_step,
	.untagged = source_untagged,
	.literal_begin = source_literal_begin,
	.literal_data = source_literal_data,
	.literal_end = source_literal_end,
};

struct source_imap *source_imap_init(const struct source_imap_settings *set)
{
	struct source_imap *source = i_new(struct source_imap, 1);

	source->set = *set;
	source->client = remote_imap_init(&set->client, &source_callbacks,
					  source);
	return source;
}

void source_imap_deinit(struct source_imap **_source)
{
	struct source_imap *source = *_source;

	*_source = NULL;
	if (source == NULL)
		return;
	remote_imap_deinit(&source->client);
	spool_unref(&source->spool);
	i_free(source->error_text);
	i_free(source->error_detail);
	i_free(source);
}

int source_imap_connect(struct source_imap *source)
{
	source->outstanding++;
	remote_imap_connect(source->client, source_reply_callback, source);
	if (source_wait_replies(source) < 0)
		return -1;
	/* announcing QRESYNC means CONDSTORE (RFC 7162, 3.2.3) */
	source->condstore =
		remote_imap_has_capability(source->client, "CONDSTORE") ||
		remote_imap_has_capability(source->client, "QRESYNC");
	return 0;
}

bool source_imap_is_alive(struct source_imap *source)
{
	return source->outstanding == 0 && !source->given_up &&
		remote_imap_get_error(source->client) == NULL;
}

void source_imap_logout(struct source_imap *source)
{
	if (source_begin(source) < 0)
		return;
	source->outstanding++;
	remote_imap_logout(source->client, source_reply_ignore, source);
	(void)source_wait_replies(source);
}
