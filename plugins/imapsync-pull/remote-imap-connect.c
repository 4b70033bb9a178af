/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "istream.h"
#include "net.h"
#include "ostream.h"
#include "str.h"
#include "dns-lookup.h"
#include "imap-parser.h"
#include "dovecot-compat.h"
#include "remote-imap-private.h"

#include <netinet/tcp.h>

static void connect_next_address(struct remote_imap *client);

void remote_imap_connect_timeout(struct remote_imap *client)
{
	bool tls = client->state == REMOTE_IMAP_STATE_TLS;

	remote_imap_fail(client, REPLY_CLASS_NETWORK,
		tls ? "TLS: handshake timed out" :
		client->state == REMOTE_IMAP_STATE_GREETING ?
		"no greeting in time" : "login timed out", NULL);
}

/*
 * Name
 */

static void
connect_to_addresses(struct remote_imap *client, const struct ip_addr *ips,
		     unsigned int count)
{
	struct ip_addr picked[REMOTE_IMAP_MAX_ADDRESSES];
	string_t *list = t_str_new(64);
	unsigned int i;

	count = net_policy_pick(ips, count, N_ELEMENTS(picked), picked);
	for (i = 0; i < count; i++) {
		array_push_back(&client->addresses, &picked[i]);
		str_printfa(list, "%s%s", i == 0 ? "" : " ",
			    net_ip2addr(&picked[i]));
	}
	remote_imap_report_step(client, REMOTE_IMAP_STEP_DNS, str_c(list),
				NULL);
	if (!remote_imap_is_closed(client)) {
		client->state = REMOTE_IMAP_STATE_CONNECT;
		connect_next_address(client);
	}
}

static void
connect_dns_callback(const struct dns_lookup_result *result,
		     struct remote_imap *client)
{
	client->dns_lookup = NULL;
	remote_imap_ref(client);
	if (result->ret != 0) {
		remote_imap_fail(client, REPLY_CLASS_DNS, t_strdup_printf(
			"DNS: %s", result->error), NULL);
	} else if (result->ips_count == 0) {
		remote_imap_fail(client, REPLY_CLASS_DNS,
				 "DNS: name has no addresses", NULL);
	} else {
		connect_to_addresses(client, result->ips, result->ips_count);
	}
	remote_imap_unref(&client);
}

static void connect_look_up(struct remote_imap *client)
{
	const struct dns_lookup_settings set = {
		.dns_client_socket_path = client->set.dns_client_socket_path,
		.timeout_msecs = client->set.connect_timeout_msecs,
		.ioloop = client->ioloop,
		.event_parent = client->event,
	};

	client->state = REMOTE_IMAP_STATE_DNS;
	/* on failure it has called back already */
	(void)dns_lookup(client->set.host, &set, connect_dns_callback, client,
			 &client->dns_lookup);
}

/* It goes into a line of the resolver's protocol. */
static bool host_is_sane(const char *host)
{
	const unsigned char *p = (const unsigned char *)host;

	for (; *p > ' ' && *p != 0x7f; p++) ;
	return *p == '\0' && p != (const unsigned char *)host;
}

/* A line end in an argument would be a command of its own. */
static bool text_is_one_line(const char *text)
{
	return text == NULL || strpbrk(text, "\r\n") == NULL;
}

void remote_imap_connect_start(struct remote_imap *client)
{
	const struct remote_imap_settings *set = &client->set;
	struct ip_addr ip;

	timeout_remove(&client->to_step);
	remote_imap_ref(client);
	if (!text_is_one_line(set->login) || !text_is_one_line(set->secret) ||
	    !text_is_one_line(set->master_user)) {
		remote_imap_fail(client, REPLY_CLASS_CONFIG,
				 "login or secret contains a line break", NULL);
	} else if (!host_is_sane(set->host)) {
		remote_imap_fail(client, REPLY_CLASS_CONFIG,
				 "this is not a host name", NULL);
	} else if (net_addr2ip(set->host, &ip) == 0) {
		connect_to_addresses(client, &ip, 1);
	} else {
		connect_look_up(client);
	}
	remote_imap_unref(&client);
}

/*
 * Addresses
 */

static void
connect_note_failure(struct remote_imap *client, const char *error)
{
	const struct ip_addr *ip =
		array_idx(&client->addresses, client->address_idx);

	if (str_len(client->address_errors) > 0)
		str_append(client->address_errors, ", ");
	str_printfa(client->address_errors, "%s: %s", net_ip2addr(ip), error);
	client->address_idx++;
}

static void connect_abandon_address(struct remote_imap *client,
				    const char *error)
{
	io_remove(&client->io);
	timeout_remove(&client->to_step);
	net_disconnect(client->fd);
	client->fd = -1;
	connect_note_failure(client, error);
	remote_imap_ref(client);
	connect_next_address(client);
	remote_imap_unref(&client);
}

static void connect_address_timeout(struct remote_imap *client)
{
	connect_abandon_address(client, "timed out");
}

static void connect_open_streams(struct remote_imap *client)
{
	/* room for the largest small literal and the line behind it */
	size_t max_size = I_MAX(client->set.input_buffer_size,
				client->set.max_line_size * 2 + 16);

	client->input = i_stream_create_fd(client->fd, max_size);
	i_stream_set_init_buffer_size(client->input,
				      client->set.input_buffer_size);
	client->output = o_stream_create_fd(client->fd, SIZE_MAX);
	o_stream_set_no_error_handling(client->output, TRUE);
	client->parser = compat_imap_parser_create_limited(client->input, NULL,
		client->set.max_line_size, REMOTE_IMAP_MAX_LISTS);
}

static void connect_await_greeting(struct remote_imap *client)
{
	client->state = REMOTE_IMAP_STATE_GREETING;
	remote_imap_start_deadline(client);
	remote_imap_update_io(client);
}

/* The other end may be gone without a word, and a NAT forgets who is silent. */
static void connect_keep_alive(struct remote_imap *client)
{
	int on = 1, secs = client->set.keepalive_secs;

	if (secs == 0)
		return;
	if (setsockopt(client->fd, SOL_SOCKET, SO_KEEPALIVE,
		       &on, sizeof(on)) < 0 ||
	    setsockopt(client->fd, IPPROTO_TCP, TCP_KEEPIDLE,
		       &secs, sizeof(secs)) < 0)
		e_debug(client->event, "setsockopt(keepalive) failed: %m");
}

static void connect_tcp_done(struct remote_imap *client)
{
	const struct ip_addr *ip =
		array_idx(&client->addresses, client->address_idx);
	int err = net_geterror(client->fd);
	const char *address;

	if (err != 0) {
		connect_abandon_address(client, strerror(err));
		return;
	}
	io_remove(&client->io);
	timeout_remove(&client->to_step);
	/* pipelined commands must not wait for acknowledgements */
	(void)net_set_tcp_nodelay(client->fd, TRUE);
	connect_keep_alive(client);
	connect_open_streams(client);

	remote_imap_ref(client);
	address = net_ipport2str(ip, client->set.port);
	remote_imap_report_step(client, REMOTE_IMAP_STEP_TCP, address, NULL);
	if (remote_imap_is_closed(client))
		;
	else if (client->set.security == ACCOUNT_SECURITY_TLS)
		remote_imap_start_tls(client);
	else
		connect_await_greeting(client);
	remote_imap_unref(&client);
}

/* Returns FALSE if this address cannot even be tried. */
static bool connect_try_address(struct remote_imap *client)
{
	const struct ip_addr *ip =
		array_idx(&client->addresses, client->address_idx);
	const char *reason;

	if (!net_policy_allows(client->set.policy, ip, &reason)) {
		client->addresses_refused++;
		connect_note_failure(client, t_strdup_printf(
			"not allowed, %s", reason));
		return FALSE;
	}
	client->fd = net_connect_ip(ip, client->set.port, NULL);
	if (client->fd == -1) {
		connect_note_failure(client, strerror(errno));
		return FALSE;
	}
	client->io = io_add_to(client->ioloop, client->fd, IO_WRITE,
			       connect_tcp_done, client);
	client->to_step = timeout_add_short_to(client->ioloop,
					 client->set.connect_timeout_msecs,
					 connect_address_timeout, client);
	return TRUE;
}

static void connect_next_address(struct remote_imap *client)
{
	unsigned int count = array_count(&client->addresses);

	while (client->address_idx < count) {
		if (connect_try_address(client))
			return;
	}
	/* one reason for all: whoever may only see this learns nothing about
	   the networks we can reach */
	remote_imap_fail(client, client->addresses_refused == count ?
			 REPLY_CLASS_POLICY : REPLY_CLASS_NETWORK,
			 "cannot connect", str_c(client->address_errors));
}

/*
 * TLS
 */

static void connect_tls_failed(struct remote_imap *client, const char *error)
{
	remote_imap_fail(client, REPLY_CLASS_TLS, t_strdup_printf("TLS: %s",
		remote_imap_redact(client, error)), NULL);
}

static void connect_tls_done(struct remote_imap *client)
{
	client->tls_done = TRUE;
	timeout_remove(&client->to_step);
	io_remove(&client->io);
	remote_imap_report_step(client, REMOTE_IMAP_STEP_TLS,
				remote_imap_tls_get_detail(client), NULL);
	if (remote_imap_is_closed(client))
		return;
	if (client->set.security == ACCOUNT_SECURITY_TLS) {
		connect_await_greeting(client);
	} else {
		client->state = REMOTE_IMAP_STATE_LOGIN;
		remote_imap_update_io(client);
		remote_imap_login_continue(client);
	}
}

static void connect_tls_input(struct remote_imap *client)
{
	const char *error;
	int ret;

	remote_imap_ref(client);
	ret = remote_imap_tls_continue(client, &error);
	if (ret < 0)
		connect_tls_failed(client, error);
	else if (ret > 0)
		connect_tls_done(client);
	remote_imap_unref(&client);
}

void remote_imap_start_tls(struct remote_imap *client)
{
	const char *error;

	client->state = REMOTE_IMAP_STATE_TLS;
	io_remove(&client->io);
	client->bytes_in += client->input->v_offset;
	client->bytes_out += client->output->offset;
	remote_imap_forget_capabilities(client);
	if (remote_imap_tls_init(client, &error) < 0) {
		remote_imap_fail(client, REPLY_CLASS_LOCAL, t_strdup_printf(
			"TLS: %s", error), NULL);
		return;
	}
	i_stream_set_init_buffer_size(client->input,
				      client->set.input_buffer_size);
	imap_parser_set_streams(client->parser, client->input, NULL);
	remote_imap_start_deadline(client);
	client->io = io_add_istream_to(client->ioloop, client->input,
				       connect_tls_input, client);
	/* the first word is ours */
	i_stream_set_input_pending(client->input, TRUE);
}

/*
 * Greeting
 */

static void connect_greeting_refused(struct remote_imap *client,
				     const char *status, const char *code,
				     const char *code_args, const char *text)
{
	struct remote_imap_error error;

	remote_imap_class_reply(client, REPLY_STEP_GREETING, status, code,
				code_args, text, &error);
	remote_imap_fail_reply(client, &error);
}

void remote_imap_greeting(struct remote_imap *client, const char *status,
			  const char *code, const char *code_args,
			  const char *text)
{
	if (strcmp(status, "PREAUTH") == 0) {
		/* nobody has said who we are: this cannot be the right mailbox,
		   and STARTTLS is not possible any more (RFC 3501, 6.2.1) */
		remote_imap_fail(client,
			client->set.security == ACCOUNT_SECURITY_STARTTLS ?
			REPLY_CLASS_TLS : REPLY_CLASS_PROTOCOL,
			"server wants no login (PREAUTH)", NULL);
		return;
	}
	if (strcmp(status, "OK") != 0) {
		connect_greeting_refused(client, status, code, code_args, text);
		return;
	}
	client->state = REMOTE_IMAP_STATE_LOGIN;
	remote_imap_login_continue(client);
}
