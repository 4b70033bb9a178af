/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "base64.h"
#include "buffer.h"
#include "ioloop.h"
#include "istream.h"
#include "ostream.h"
#include "str.h"
#include "dsasl-client.h"
#include "dovecot-compat.h"
#include "remote-imap-private.h"

struct login_mechanism {
	const char *name;
	/* it speaks first: its first word can go with the command (RFC 4959) */
	bool client_first;
	/* can log in as somebody else */
	bool authzid;
	/* "auto" may take it: best first */
	bool password;
	/* the secret is a token */
	bool token;
	/* challenges it answers, where the server, too, proves that it knows
	   the secret: an OK before the last of them comes without the proof,
	   and one more makes the mechanism panic; 0 = not that strict */
	unsigned int challenges;
	/* the answer to a challenge that says the token was refused, so that
	   the server goes on to its NO */
	const char *token_goodbye;
};

static const struct login_mechanism login_mechanisms[] = {
	{ .name = "SCRAM-SHA-256", .client_first = TRUE, .authzid = TRUE,
	  .password = TRUE, .challenges = 2 },
	{ .name = "PLAIN", .client_first = TRUE, .authzid = TRUE,
	  .password = TRUE },
	{ .name = "LOGIN", .password = TRUE },
	{ .name = "XOAUTH2", .client_first = TRUE, .token = TRUE,
	  .token_goodbye = "" },
	{ .name = "OAUTHBEARER", .client_first = TRUE, .token = TRUE,
	  .token_goodbye = "AQ==" },	/* RFC 7628, 3.2.3 */
	{ .name = "EXTERNAL", .client_first = TRUE, .authzid = TRUE },
};

/*
 * Capabilities
 */

static void
login_capability_replied(const struct remote_imap_reply *reply, void *context)
{
	struct remote_imap *client = context;

	if (reply->status == IMAP_REPLY_LOST)
		return;
	if (reply->status != IMAP_REPLY_OK) {
		remote_imap_fail_reply(client, reply->error);
		return;
	}
	/* not asked again if there was none in the answer */
	client->capabilities_known = TRUE;
	remote_imap_login_continue(client);
}

static void login_ask_capabilities(struct remote_imap *client)
{
	remote_imap_start_deadline(client);
	remote_imap_command_internal(client, REPLY_STEP_LOGIN, "CAPABILITY",
				     login_capability_replied, client);
}

/*
 * STARTTLS
 */

static void
login_starttls_replied(const struct remote_imap_reply *reply, void *context)
{
	struct remote_imap *client = context;

	if (reply->status == IMAP_REPLY_LOST)
		return;
	if (reply->status != IMAP_REPLY_OK) {
		struct remote_imap_error error = *reply->error;

		/* whatever the words: there will be no login without TLS */
		error.class = REPLY_CLASS_TLS;
		error.hint = REPLY_HINT_NONE;
		remote_imap_fail_reply(client, &error);
	} else if (i_stream_get_data_size(client->input) > 0) {
		/* RFC 3501, 6.2.1: TLS begins behind this line, so this is
		   somebody in the middle */
		remote_imap_fail(client, REPLY_CLASS_TLS,
				 "injection: data behind the STARTTLS reply",
				 NULL);
	} else {
		remote_imap_start_tls(client);
	}
}

static void login_starttls(struct remote_imap *client)
{
	if (!remote_imap_has_capability(client, "STARTTLS")) {
		remote_imap_fail(client, REPLY_CLASS_TLS,
				 "server does not offer STARTTLS", NULL);
		return;
	}
	remote_imap_start_deadline(client);
	remote_imap_command_internal(client, REPLY_STEP_STARTTLS, "STARTTLS",
				     login_starttls_replied, client);
}

/*
 * Ready
 */

static void login_ready(struct remote_imap *client)
{
	const struct remote_imap_reply reply = {
		.status = IMAP_REPLY_OK, .text = "",
	};

	timeout_remove(&client->to_step);
	client->state = REMOTE_IMAP_STATE_READY;
	/* some providers refuse to open a mailbox before they know who asks */
	if (remote_imap_has_capability(client, "ID")) {
		remote_imap_command_internal(client, REPLY_STEP_OTHER,
			"ID (\"name\" \"imapsync-pull\")", NULL, NULL);
	}
	remote_imap_report_step(client, REMOTE_IMAP_STEP_LOGIN,
				client->mechanism, NULL);
	/* a step callback may have ended it, and then the end is reported */
	if (!remote_imap_is_closed(client))
		remote_imap_connected(client, &reply);
}

static void
login_refused(struct remote_imap *client, const struct remote_imap_reply *reply)
{
	struct remote_imap_error error = *reply->error;
	struct remote_imap_reply *kept = &client->login_reply;

	kept->status = reply->status;
	kept->code = p_strdup(client->pool, reply->code);
	kept->code_args = p_strdup(client->pool, reply->code_args);
	kept->text = p_strdup(client->pool, reply->text);
	if (client->sasl_error != NULL) {
		error.detail = remote_imap_redact(client, client->sasl_error);
	}
	remote_imap_fail_reply(client, &error);
}

static void
login_replied(const struct remote_imap_reply *reply, void *context)
{
	struct remote_imap *client = context;

	if (reply->status == IMAP_REPLY_LOST)
		return;
	dsasl_client_free(&client->sasl);
	if (reply->status != IMAP_REPLY_OK) {
		login_refused(client, reply);
	} else if (client->sasl_given < client->sasl_expected) {
		remote_imap_fail(client, REPLY_CLASS_PROTOCOL, "login: server "
				 "did not prove that it knows the password",
				 NULL);
	} else {
		client->logged_in = TRUE;
		remote_imap_login_continue(client);
	}
}

/*
 * SASL (RFC 4422)
 */

/* What the mechanism says next, in base64. Returns NULL and fails if it has
   nothing to say. */
static const char *sasl_get_output(struct remote_imap *client)
{
	const unsigned char *data;
	const char *error, *text;
	size_t size;
	string_t *str;

	if (dsasl_client_output(client->sasl, &data, &size, &error) != 0) {
		remote_imap_fail(client, REPLY_CLASS_CONFIG, t_strdup_printf(
			"login: %s", error), NULL);
		return NULL;
	}
	str = t_str_new(MAX_BASE64_ENCODED_SIZE(size) + 1);
	base64_encode(data, size, str);
	text = str_c(str);
	/* servers quote what they did not understand, and a short secret
	   cannot be found inside of it */
	remote_imap_add_secret(client, text);
	return text;
}

static void sasl_send_line(struct remote_imap *client, const char *line)
{
	o_stream_nsend_str(client->output, t_strconcat(line, "\r\n", NULL));
}

static const struct login_mechanism *login_mechanism_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(login_mechanisms); i++) {
		if (strcasecmp(login_mechanisms[i].name, name) == 0)
			return &login_mechanisms[i];
	}
	return NULL;
}

/* Returns 0, or -1 if the exchange is over. */
static int sasl_input(struct remote_imap *client, const char *text)
{
	const struct login_mechanism *mech =
		login_mechanism_find(client->mechanism);
	buffer_t *data = t_buffer_create(MAX_BASE64_DECODED_SIZE(strlen(text)));
	const char *error;

	if (client->sasl_expected > 0 &&
	    client->sasl_given++ == client->sasl_expected) {
		remote_imap_fail(client, REPLY_CLASS_PROTOCOL,
				 "login: server does not come to an end", NULL);
		return -1;
	}
	if (base64_scheme_decode(&base64_scheme, 0, text, strlen(text),
				 data) < 0) {
		remote_imap_fail(client, REPLY_CLASS_PROTOCOL,
				 "login: challenge is not base64", NULL);
		return -1;
	}
	if (dsasl_client_input(client->sasl, data->data, data->used,
			       &error) == 0)
		return 0;
	if (mech->token && client->sasl_error == NULL) {
		/* the reason comes now, the refusal after our answer */
		client->sasl_error = p_strdup(client->pool, error);
		sasl_send_line(client, mech->token_goodbye);
		return -1;
	}
	remote_imap_fail(client, REPLY_CLASS_PROTOCOL, t_strdup_printf(
		"login: %s", remote_imap_redact(client, error)), NULL);
	return -1;
}

static void sasl_challenge(struct remote_imap *client, const char *text)
{
	const char *output;

	if (++client->sasl_rounds > REMOTE_IMAP_MAX_SASL_ROUNDS ||
	    strlen(text) > REMOTE_IMAP_MAX_SASL_SIZE) {
		remote_imap_fail(client, REPLY_CLASS_PROTOCOL,
				 "login: too many or too long answers", NULL);
		return;
	}
	if (client->sasl_held != NULL) {
		/* the first word, too long for the command */
		output = client->sasl_held;
		client->sasl_held = NULL;
		sasl_send_line(client, output);
		return;
	}
	if (sasl_input(client, text) < 0)
		return;
	output = sasl_get_output(client);
	if (output != NULL)
		sasl_send_line(client, output);
}

/* Returns -1 if the connection failed. */
static int
sasl_append_initial_response(struct remote_imap *client,
			     const struct login_mechanism *mech, string_t *cmd)
{
	const char *output;

	client->sasl_expected = mech->challenges;
	if (!mech->client_first ||
	    !remote_imap_has_capability(client, "SASL-IR")) {
		/* the first asks for our first word */
		if (mech->challenges > 0)
			client->sasl_expected++;
		return 0;
	}
	output = sasl_get_output(client);
	if (output == NULL)
		return -1;
	if (strlen(output) > REMOTE_IMAP_MAX_SASL_IR)
		client->sasl_held = p_strdup(client->pool, output);
	else
		str_printfa(cmd, " %s", *output == '\0' ? "=" : output);
	return 0;
}

static void
login_authenticate(struct remote_imap *client,
		   const struct login_mechanism *mech)
{
	const struct remote_imap_settings *set = &client->set;
	const struct dsasl_client_settings sasl_set = {
		.authid = set->master_user != NULL ?
			set->master_user : set->login,
		.authzid = set->master_user != NULL ? set->login : NULL,
		.password = set->secret,
	};
	string_t *str = t_str_new(256);
	struct imap_command *cmd;

	client->mechanism = mech->name;
	client->token_login = mech->token;
	client->sasl = dsasl_client_new(dsasl_client_mech_find(mech->name),
					&sasl_set);
	str_printfa(str, "AUTHENTICATE %s", mech->name);
	if (sasl_append_initial_response(client, mech, str) < 0)
		return;
	cmd = remote_imap_command_internal(client, REPLY_STEP_LOGIN,
					   str_c(str), login_replied, client);
	cmd->challenge = sasl_challenge;
}

/*
 * Mechanism
 */

static void login_command(struct remote_imap *client)
{
	string_t *cmd = t_str_new(128);

	client->mechanism = "LOGIN command";
	str_append(cmd, "LOGIN ");
	remote_imap_quote(cmd, client->set.login);
	str_append_c(cmd, ' ');
	remote_imap_quote(cmd, client->set.secret);
	remote_imap_command_internal(client, REPLY_STEP_LOGIN, str_c(cmd),
				     login_replied, client);
}

static bool
login_mechanism_is_usable(struct remote_imap *client,
			  const struct login_mechanism *mech)
{
	return dsasl_client_mech_find(mech->name) != NULL &&
		(client->set.master_user == NULL || mech->authzid) &&
		remote_imap_has_capability(client,
			t_strconcat("AUTH=", mech->name, NULL));
}

/* NULL = the LOGIN command */
static const struct login_mechanism *
login_choose_mechanism(struct remote_imap *client)
{
	const char *name = client->set.auth_mechanism;
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(login_mechanisms); i++) {
		const struct login_mechanism *mech = &login_mechanisms[i];

		if (strcasecmp(name, "auto") == 0 ? !mech->password :
		    strcasecmp(name, mech->name) != 0)
			continue;
		if (login_mechanism_is_usable(client, mech))
			return mech;
	}
	return NULL;
}

static bool login_command_is_usable(struct remote_imap *client)
{
	const char *name = client->set.auth_mechanism;

	return client->set.master_user == NULL &&
		(strcasecmp(name, "auto") == 0 ||
		 strcasecmp(name, "LOGIN") == 0) &&
		!remote_imap_has_capability(client, "LOGINDISABLED");
}

static void login_no_mechanism(struct remote_imap *client)
{
	string_t *offered = t_str_new(128);
	const char *const *cap;

	for (cap = client->capabilities; *cap != NULL; cap++) {
		if (strncasecmp(*cap, "AUTH=", 5) == 0 ||
		    strcasecmp(*cap, "LOGINDISABLED") == 0)
			str_printfa(offered, " %s", *cap);
	}
	remote_imap_fail(client, REPLY_CLASS_CONFIG, t_strdup_printf(
		"login: no usable mechanism (%s wanted, server offers%s)",
		client->set.auth_mechanism, str_len(offered) == 0 ? " none" :
		remote_imap_redact(client, str_c(offered))), NULL);
}

static void login_start(struct remote_imap *client)
{
	const struct login_mechanism *mech = login_choose_mechanism(client);

	if (mech == NULL && !login_command_is_usable(client)) {
		login_no_mechanism(client);
		return;
	}
	remote_imap_start_deadline(client);
	/* what the server can do depends on who logged in */
	client->capabilities_known = FALSE;
	if (mech != NULL)
		login_authenticate(client, mech);
	else
		login_command(client);
}

void remote_imap_login_continue(struct remote_imap *client)
{
	if (client->set.security == ACCOUNT_SECURITY_STARTTLS &&
	    !client->tls_done) {
		if (!client->capabilities_known)
			login_ask_capabilities(client);
		else
			login_starttls(client);
	} else if (!client->capabilities_known) {
		login_ask_capabilities(client);
	} else if (!client->logged_in) {
		login_start(client);
	} else {
		login_ready(client);
	}
}
