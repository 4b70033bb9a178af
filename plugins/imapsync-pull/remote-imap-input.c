/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "istream.h"
#include "str.h"
#include "strnum.h"
#include "imap-parser.h"
#include "dovecot-compat.h"
#include "remote-imap-private.h"

#include <ctype.h>

/* A response is taken apart one line at a time, and a line is touched only
   when its LF is there: so nothing is parsed twice however it drips in. Status
   responses (OK, NO, BAD, BYE, PREAUTH) and "+" end in free text and are split
   here, everything else is read by Dovecot's parser.

   Functions that take input return 1 if there may be more to do, 0 if more
   input is needed or the connection is not ours to read any more. */

#define PARSER_FLAGS \
	(IMAP_PARSE_FLAG_LITERAL_SIZE | IMAP_PARSE_FLAG_ATOM_ALLCHARS | \
	 IMAP_PARSE_FLAG_LITERAL8)

static int input_fail(struct remote_imap *client, const char *error)
{
	remote_imap_fail(client, REPLY_CLASS_PROTOCOL, error, NULL);
	return 0;
}

static bool input_may_call(struct remote_imap *client)
{
	/* what was said before the login is nobody's */
	return client->state == REMOTE_IMAP_STATE_READY ||
		client->state == REMOTE_IMAP_STATE_LOGOUT;
}

bool remote_imap_in_response(struct remote_imap *client)
{
	return client->mode != REMOTE_IMAP_INPUT_START ||
		(client->input != NULL &&
		 i_stream_get_data_size(client->input) > 0);
}

static void input_response_done(struct remote_imap *client)
{
	client->mode = REMOTE_IMAP_INPUT_START;
	client->responses++;
}

/*
 * Capabilities
 */

void remote_imap_forget_capabilities(struct remote_imap *client)
{
	p_clear(client->capability_pool);
	client->capabilities = p_new(client->capability_pool, const char *, 1);
	client->capabilities_known = FALSE;
}

void remote_imap_set_capabilities(struct remote_imap *client,
				  const char *const *words)
{
	ARRAY_TYPE(const_string) list;
	unsigned int i;

	remote_imap_forget_capabilities(client);
	p_array_init(&list, client->capability_pool, 32);
	for (i = 0; words[i] != NULL; i++) {
		const char *word;

		if (i == REMOTE_IMAP_MAX_CAPABILITIES)
			break;
		if (strlen(words[i]) > REMOTE_IMAP_MAX_CAPABILITY_LEN)
			continue;
		word = p_strdup(client->capability_pool, words[i]);
		array_push_back(&list, &word);
	}
	array_append_zero(&list);
	client->capabilities = array_front(&list);
	client->capabilities_known = TRUE;
}

static void
input_capability_response(struct remote_imap *client,
			  const struct imap_arg *args)
{
	ARRAY_TYPE(const_string) words;
	const char *word;

	t_array_init(&words, 32);
	for (; imap_arg_get_atom(args, &word); args++)
		array_push_back(&words, &word);
	array_append_zero(&words);
	remote_imap_set_capabilities(client, array_front(&words));
}

/*
 * Status responses
 */

struct status_response {
	/* upper case */
	const char *status;
	/* upper case, or NULL */
	const char *code, *code_args;
	const char *text;
};

/* rest: what follows "OK " in a line. */
static void
status_parse(const char *status, const char *rest, struct status_response *r)
{
	const char *end, *space;

	i_zero(r);
	r->status = t_str_ucase(status);
	r->text = rest;
	if (*rest != '[' || (end = strchr(rest, ']')) == NULL)
		return;
	r->code = t_strdup_until(rest + 1, end);
	space = strchr(r->code, ' ');
	if (space != NULL) {
		r->code_args = space + 1;
		r->code = t_strdup_until(r->code, space);
	}
	r->code = t_str_ucase(r->code);
	r->text = end[1] == ' ' ? end + 2 : end + 1;
}

static bool status_is(const char *word, bool tagged)
{
	static const char *const names[] = {
		"BYE", "PREAUTH", "OK", "NO", "BAD", NULL
	};

	return str_array_icase_find(tagged ? names + 2 : names, word);
}

static enum imap_reply_status status_get(const char *status)
{
	if (strcmp(status, "OK") == 0)
		return IMAP_REPLY_OK;
	return strcmp(status, "NO") == 0 ? IMAP_REPLY_NO : IMAP_REPLY_BAD;
}

static void
status_take_capabilities(struct remote_imap *client,
			 const struct status_response *r)
{
	if (r->code != NULL && r->code_args != NULL &&
	    strcmp(r->code, "CAPABILITY") == 0) {
		remote_imap_set_capabilities(client,
			t_strsplit_spaces(r->code_args, " "));
	}
}

static void
input_bye(struct remote_imap *client, const struct status_response *r)
{
	struct remote_imap_error error;
	enum reply_step step = REPLY_STEP_OTHER;

	if (client->state == REMOTE_IMAP_STATE_LOGOUT)
		return;
	if (client->commands != NULL)
		step = client->commands->step;
	remote_imap_class_reply(client, step, "BYE", r->code, r->code_args,
				r->text, &error);
	remote_imap_set_error(client, &error);
	/* the reason is known, replies may still come before the end */
	remote_imap_expect_eof(client);
}

static int
input_untagged_status(struct remote_imap *client,
		      const struct status_response *r)
{
	struct imap_arg args[2];

	if (client->state == REMOTE_IMAP_STATE_GREETING) {
		status_take_capabilities(client, r);
		remote_imap_greeting(client, r->status, r->code, r->code_args,
				     r->text);
		return 1;
	}
	if (strcmp(r->status, "PREAUTH") == 0)
		return input_fail(client, "PREAUTH after the greeting");

	status_take_capabilities(client, r);
	if (strcmp(r->status, "BYE") == 0)
		input_bye(client, r);
	if (!input_may_call(client) || client->callbacks.untagged == NULL)
		return 1;
	i_zero(&args);
	args[0].type = IMAP_ARG_ATOM;
	args[0]._data.str = r->text;
	args[0].str_len = strlen(r->text);
	args[1].type = IMAP_ARG_EOL;
	client->callbacks.untagged(r->status, 0, args, r->code, r->code_args,
				   client->context);
	return 1;
}

static int
input_tagged(struct remote_imap *client, const char *tag,
	     const struct status_response *r)
{
	struct remote_imap_reply reply;
	struct remote_imap_error error;
	struct imap_command *cmd;

	i_zero(&reply);
	reply.status = status_get(r->status);
	reply.code = r->code;
	reply.code_args = r->code_args;
	reply.text = r->text;
	cmd = remote_imap_find_command(client, tag, reply.status);
	if (cmd == NULL)
		return input_fail(client, "reply to no command of ours");
	if (reply.status == IMAP_REPLY_OK) {
		status_take_capabilities(client, r);
	} else {
		remote_imap_class_reply(client, cmd->step, r->status, r->code,
					r->code_args, r->text, &error);
		reply.error = &error;
	}
	remote_imap_finish_command(client, cmd, &reply);
	return 1;
}

/*
 * Literals
 */

/* Only single atoms: BODY[HEADER.FIELDS (...)] comes in several, and is
   small. */
static bool fetch_item_is_body(const struct imap_arg *item)
{
	const char *name;

	if (!imap_arg_get_atom(item, &name))
		return FALSE;
	if (strncasecmp(name, "BODY[", 5) == 0 ||
	    strncasecmp(name, "BINARY[", 7) == 0)
		return strchr(name, ']') != NULL;
	return strcasecmp(name, "RFC822") == 0 ||
		strcasecmp(name, "RFC822.HEADER") == 0 ||
		strcasecmp(name, "RFC822.TEXT") == 0;
}

/* The innermost unfinished list's last argument: the literal's size. */
static struct imap_arg *
literal_find_arg(const struct imap_arg *args, bool *body_r)
{
	const struct imap_arg *list = args;
	unsigned int count, depth = 0;

	for (count = 0; !IMAP_ARG_IS_EOL(&args[count]); count++) ;
	while (count > 0 && list[count-1].type == IMAP_ARG_LIST) {
		list = array_get(&list[count-1]._data.list, &count);
		depth++;
	}
	i_assert(count > 0);
	*body_r = depth == 1 && count > 1 &&
		fetch_item_is_body(&list[count-2]);
	return (struct imap_arg *)&list[count-1];
}

/* Say it is there, before the first byte is taken. */
static int
input_literal_begin(struct remote_imap *client, const struct imap_arg *args,
		    uoff_t size)
{
	client->literal_left = size;
	client->mode = REMOTE_IMAP_INPUT_STREAM;
	if (client->set.max_literal_size > 0 &&
	    size > client->set.max_literal_size) {
		return input_fail(client, t_strdup_printf(
			"server announces a message of %"PRIuUOFF_T" bytes",
			size));
	}
	client->literal_dropped = TRUE;
	if (input_may_call(client) && client->callbacks.literal_begin != NULL) {
		client->literal_dropped = !client->callbacks.literal_begin(
			client->response_num, args, size, client->context);
	}
	return 1;
}

/* The parser stopped behind "{size}". */
static int
input_literal(struct remote_imap *client, const struct imap_arg *args)
{
	struct imap_arg *arg;
	uoff_t size;
	bool body;

	arg = literal_find_arg(args, &body);
	if (arg->type != IMAP_ARG_LITERAL_SIZE)
		return input_fail(client, "bad literal");
	size = arg->_data.literal_size;
	if (body && strcmp(client->response_name, "FETCH") == 0) {
		/* what it stands for is on its way elsewhere */
		arg->type = IMAP_ARG_STRING;
		arg->_data.str = "";
		arg->str_len = 0;
		return input_literal_begin(client, args, size);
	}
	if (size > client->set.max_line_size)
		return input_fail(client, "literal too large");
	client->literal_left = size;
	client->mode = REMOTE_IMAP_INPUT_LITERAL;
	return 1;
}

static int input_stream(struct remote_imap *client)
{
	const unsigned char *data;
	size_t size;

	if (client->literal_left == 0) {
		client->mode = REMOTE_IMAP_INPUT_LINE;
		if (!client->literal_dropped &&
		    client->callbacks.literal_end != NULL)
			client->callbacks.literal_end(client->context);
		return 1;
	}
	data = i_stream_get_data(client->input, &size);
	if (size == 0)
		return 0;
	size = I_MIN(size, client->literal_left);
	if (!client->literal_dropped && client->callbacks.literal_data != NULL)
		client->callbacks.literal_data(data, size, client->context);
	if (remote_imap_is_closed(client))
		return 0;
	i_stream_skip(client->input, size);
	client->literal_left -= size;
	return 1;
}

/*
 * Responses with arguments
 */

/* What follows a literal shows whether its size was true. */
static bool literal_may_end_before(unsigned char chr)
{
	return chr == ' ' || chr == ')' || chr == '\r' || chr == '\n';
}

/* name value name value ..., where a name may be BODY[HEADER.FIELDS (x y)].
   bodies_r: number of message bodies that came as quoted strings */
static bool
fetch_items_are_valid(const struct imap_arg *items, unsigned int *bodies_r)
{
	const char *name;

	*bodies_r = 0;
	while (!IMAP_ARG_IS_EOL(items)) {
		bool body = fetch_item_is_body(items);

		if (!imap_arg_get_atom(items++, &name))
			return FALSE;
		if (strchr(name, '[') != NULL) {
			while (strchr(name, ']') == NULL) {
				if (items->type == IMAP_ARG_LIST)
					items++;
				if (!imap_arg_get_atom(items++, &name))
					return FALSE;
			}
		}
		if (IMAP_ARG_IS_EOL(items))
			return FALSE;
		if (body && items->type == IMAP_ARG_STRING &&
		    items->str_len > 0)
			++*bodies_r;
		items++;
	}
	return TRUE;
}

/* A short message may come as a quoted string: it takes the same way. */
static void
fetch_pass_quoted_bodies(struct remote_imap *client,
			 const struct imap_arg *args,
			 const struct imap_arg *items)
{
	const struct remote_imap_callbacks *cb = &client->callbacks;

	for (; !IMAP_ARG_IS_EOL(items); items++) {
		struct imap_arg *value = (struct imap_arg *)&items[1];
		const char *data = value->_data.str;
		size_t size = value->str_len;

		if (!fetch_item_is_body(items) ||
		    value->type != IMAP_ARG_STRING || size == 0)
			continue;
		value->_data.str = "";
		value->str_len = 0;
		if (cb->literal_begin == NULL ||
		    !cb->literal_begin(client->response_num, args, size,
				       client->context))
			continue;
		if (!remote_imap_is_closed(client) && cb->literal_data != NULL)
			cb->literal_data((const unsigned char *)data, size,
					 client->context);
		if (!remote_imap_is_closed(client) && cb->literal_end != NULL)
			cb->literal_end(client->context);
		if (remote_imap_is_closed(client))
			return;
	}
}

static int
input_fetch(struct remote_imap *client, const struct imap_arg *args)
{
	const struct imap_arg *items;
	unsigned int bodies;

	if (client->response_num == 0 || !imap_arg_get_list(&args[0], &items) ||
	    !IMAP_ARG_IS_EOL(&args[1]) ||
	    !fetch_items_are_valid(items, &bodies))
		return input_fail(client, "bad FETCH response");
	if (bodies > 0 && input_may_call(client))
		fetch_pass_quoted_bodies(client, args, items);
	return 1;
}

static int
input_response(struct remote_imap *client, const struct imap_arg *args)
{
	const char *name = client->response_name;

	if (strcmp(name, "CAPABILITY") == 0)
		input_capability_response(client, args);
	else if (strcmp(name, "FETCH") == 0 && input_fetch(client, args) == 0)
		return 0;
	if (input_may_call(client) && client->callbacks.untagged != NULL) {
		client->callbacks.untagged(name, client->response_num, args,
					   NULL, NULL, client->context);
	}
	return 1;
}

static void input_skip_line_end(struct remote_imap *client)
{
	const unsigned char *data, *lf;
	size_t size;

	data = i_stream_get_data(client->input, &size);
	lf = memchr(data, '\n', size);
	i_assert(lf != NULL);
	i_stream_skip(client->input, lf + 1 - data);
}

/* The line up to its LF is in the buffer, with the literal before it. */
static int input_args(struct remote_imap *client)
{
	const struct imap_arg *args;
	uoff_t literal_size;

	switch (imap_parser_read_args(client->parser, 0, PARSER_FLAGS, &args)) {
	case -1:
		return input_fail(client, t_strdup_printf(
			"%s response: %s", client->response_name,
			imap_parser_get_error(client->parser, NULL)));
	case -2:
		return input_fail(client, "response ends early");
	}
	if (!IMAP_ARG_IS_EOL(&args[0]) &&
	    imap_parser_get_literal_size(client->parser, &literal_size))
		return input_literal(client, args);

	input_skip_line_end(client);
	input_response_done(client);
	return input_response(client, args);
}

/*
 * Lines
 */

/* Finds the end of a line that begins at offset in the buffer. Returns 1 and
   its size including LF, 0 if it is not there yet, or -1 if the connection
   failed. */
static int
input_find_line(struct remote_imap *client, size_t offset,
		const unsigned char **line_r, size_t *size_r)
{
	const unsigned char *data, *lf;
	size_t size, from;

	data = i_stream_get_data(client->input, &size);
	from = I_MAX(client->scanned, offset);
	lf = from >= size ? NULL : memchr(data + from, '\n', size - from);
	if (lf != NULL)
		size = lf + 1 - data;
	if (size > offset && size - offset > client->set.max_line_size) {
		(void)input_fail(client, "line too long");
		return -1;
	}
	if (lf == NULL) {
		client->scanned = size;
		return 0;
	}
	client->scanned = 0;
	*line_r = data + offset;
	*size_r = size - offset;
	if (memchr(*line_r, '\0', *size_r) != NULL) {
		(void)input_fail(client, "NUL in a response");
		return -1;
	}
	return 1;
}

/* The parser takes "{}" for "{0}". */
static bool line_ends_in_empty_literal(const unsigned char *line, size_t size)
{
	size--;
	if (size > 0 && line[size-1] == '\r')
		size--;
	return size >= 2 && line[size-1] == '}' && line[size-2] == '{';
}

static int input_line(struct remote_imap *client)
{
	const unsigned char *line;
	size_t size, literal = 0;
	int ret;

	if (client->mode == REMOTE_IMAP_INPUT_LITERAL)
		literal = client->literal_left;
	ret = input_find_line(client, literal, &line, &size);
	if (ret <= 0)
		return 0;
	if (!literal_may_end_before(line[0]))
		return input_fail(client, "literal of another size than said");
	if (line_ends_in_empty_literal(line, size))
		return input_fail(client, "literal without a size");
	if (client->mode == REMOTE_IMAP_INPUT_LITERAL) {
		imap_parser_read_last_literal(client->parser);
		client->mode = REMOTE_IMAP_INPUT_LINE;
	}
	return input_args(client);
}

/* The line as a string, and off the stream. */
static const char *
input_take_line(struct remote_imap *client, const unsigned char *line,
		size_t size)
{
	const char *text = t_strndup(line, size - 1);
	size_t len = strlen(text);

	if (len > 0 && text[len-1] == '\r')
		text = t_strndup(text, len - 1);
	i_stream_skip(client->input, size);
	input_response_done(client);
	return text;
}

static bool word_is_name(const char *word)
{
	if (!i_isalpha(*word))
		return FALSE;
	for (; *word != '\0'; word++) {
		if (!i_isalnum(*word) && *word != '-' && *word != '_' &&
		    *word != '.')
			return FALSE;
	}
	return TRUE;
}

/* Copies the word at pos of the line. Returns its size, 0 if there is none or
   it is too long. */
static size_t
line_get_word(const unsigned char *line, size_t pos, size_t line_size,
	      char *word, size_t word_size)
{
	size_t len = 0;

	while (pos + len < line_size && line[pos + len] != ' ' &&
	       line[pos + len] != '\r' && line[pos + len] != '\n') {
		if (len + 1 == word_size)
			return 0;
		word[len] = line[pos + len];
		len++;
	}
	word[len] = '\0';
	return len;
}

static size_t line_skip_space(const unsigned char *line, size_t pos)
{
	return line[pos] == ' ' ? pos + 1 : pos;
}

static int
input_status_line(struct remote_imap *client, const char *tag, size_t pos,
		  const unsigned char *line, size_t size)
{
	struct status_response r;
	const char *text = input_take_line(client, line, size);
	size_t len = strlen(client->response_name);

	pos += len;
	if (pos > strlen(text))
		pos = strlen(text);
	if (text[pos] == ' ')
		pos++;
	status_parse(client->response_name, text + pos, &r);
	return strcmp(tag, "*") == 0 ? input_untagged_status(client, &r) :
		input_tagged(client, tag, &r);
}

/* "* name args" or "* number name args", pos at the name. */
static int
input_untagged_line(struct remote_imap *client, size_t pos,
		    const unsigned char *line, size_t size)
{
	char *name = client->response_name;
	size_t len = strlen(name);

	client->response_num = 0;
	if (i_isdigit(*name)) {
		if (str_to_uint32(name, &client->response_num) < 0)
			return input_fail(client, "bad number in a response");
		pos = line_skip_space(line, pos + len);
		len = line_get_word(line, pos, size, name,
				    sizeof(client->response_name));
	}
	if (len == 0 || !word_is_name(name) || status_is(name, FALSE))
		return input_fail(client, "not an IMAP response");
	str_ucase(name);
	if (line_ends_in_empty_literal(line, size))
		return input_fail(client, "literal without a size");
	i_stream_skip(client->input, line_skip_space(line, pos + len));
	client->mode = REMOTE_IMAP_INPUT_LINE;
	imap_parser_reset(client->parser);
	return input_args(client);
}

static int
input_continuation(struct remote_imap *client, const unsigned char *line,
		   size_t size)
{
	const char *text = input_take_line(client, line, size);

	remote_imap_continue(client, text[1] == ' ' ? text + 2 : text + 1);
	return 1;
}

static int input_start(struct remote_imap *client)
{
	const unsigned char *line;
	char tag[16];
	size_t size, pos;
	bool tagged;

	if (input_find_line(client, 0, &line, &size) <= 0)
		return 0;
	pos = line_get_word(line, 0, size, tag, sizeof(tag));
	if (pos == 0)
		return input_fail(client, "not an IMAP response");
	tagged = strcmp(tag, "*") != 0;
	if (client->state == REMOTE_IMAP_STATE_GREETING && tagged)
		return input_fail(client, "not an IMAP greeting");
	if (strcmp(tag, "+") == 0)
		return input_continuation(client, line, size);

	pos = line_skip_space(line, pos);
	if (line_get_word(line, pos, size, client->response_name,
			  sizeof(client->response_name)) == 0)
		return input_fail(client, "not an IMAP response");
	if (status_is(client->response_name, tagged))
		return input_status_line(client, tag, pos, line, size);
	if (tagged || client->state == REMOTE_IMAP_STATE_GREETING)
		return input_fail(client, "not an IMAP response");
	return input_untagged_line(client, pos, line, size);
}

/*
 * Reading
 */

static bool input_is_wanted(struct remote_imap *client)
{
	return client->pause_count == 0 &&
		!remote_imap_is_closed(client) &&
		client->state != REMOTE_IMAP_STATE_TLS;
}

static int input_next(struct remote_imap *client)
{
	switch (client->mode) {
	case REMOTE_IMAP_INPUT_START:
		return input_start(client);
	case REMOTE_IMAP_INPUT_LINE:
	case REMOTE_IMAP_INPUT_LITERAL:
		return input_line(client);
	case REMOTE_IMAP_INPUT_STREAM:
		return input_stream(client);
	}
	i_unreached();
}

static void input_process(struct remote_imap *client)
{
	int ret = 1;

	while (ret > 0 && input_is_wanted(client)) T_BEGIN {
		ret = input_next(client);
	} T_END;
}

static void input_eof(struct remote_imap *client)
{
	const char *error = client->input->stream_errno == 0 ? NULL :
		i_stream_get_error(client->input);

	if (error == NULL) {
		remote_imap_fail(client, REPLY_CLASS_NETWORK,
			remote_imap_in_response(client) ?
			"server hung up in the middle of a response" :
			"server hung up", NULL);
	} else {
		remote_imap_fail(client, REPLY_CLASS_NETWORK, t_strdup_printf(
			"connection lost: %s",
			remote_imap_redact(client, error)), NULL);
	}
}

static void input_read(struct remote_imap *client)
{
	ssize_t ret = i_stream_read(client->input);

	if (client->to_idle != NULL && ret > 0)
		timeout_reset(client->to_idle);
	input_process(client);
	if (ret == -1 && input_is_wanted(client))
		input_eof(client);
}

void remote_imap_input(struct remote_imap *client)
{
	bool resumed = client->resumed;

	remote_imap_ref(client);
	client->resumed = FALSE;
	/* What is there comes first: to read into a buffer that is nearly full
	   has all of it copied, for a message or less each time. */
	if (resumed)
		input_process(client);
	if (!resumed || input_is_wanted(client))
		input_read(client);
	remote_imap_unref(&client);
}
