/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "askpass.h"
#include "istream.h"
#include "safe-memset.h"
#include "doveadm.h"
#include "dovecot-compat.h"
#include "doveadm-imapsync.h"

#include <unistd.h>

static const char *secret_take(pool_t pool, const char *text)
{
	const char *secret = p_strdup(pool, text);

	/* it came in a buffer of ours or of a stream, and nobody else reads
	   it there */
	safe_memset((char *)text, 0, strlen(text));
	return secret;
}

int imapsync_secret_ask(pool_t pool, const char *label, const char **secret_r,
			const char **error_r)
{
	const char *again;

	*secret_r = secret_take(pool, t_askpass(
		t_strdup_printf("Password of %s: ", label)));
	if (**secret_r == '\0') {
		*error_r = "no password was given: it is asked for on a "
			"terminal, or read from standard input or "
			"--secret-file";
		return -1;
	}
	if (isatty(STDIN_FILENO) == 0)
		return 0;
	again = secret_take(pool, t_askpass("Once more: "));
	if (strcmp(*secret_r, again) != 0) {
		*error_r = "the passwords differ";
		return -1;
	}
	return 0;
}

static int
secret_read_stream(pool_t pool, struct istream *input, const char **secret_r,
		   const char **error_r)
{
	const char *line;

	i_stream_set_return_partial_line(input, TRUE);
	line = i_stream_read_next_line(input);
	if (line != NULL) {
		*secret_r = secret_take(pool, line);
		if (**secret_r != '\0')
			return 0;
		*error_r = "the first line of the secret file is empty";
	} else if (input->stream_errno != 0) {
		*error_r = t_strdup_printf("read(%s) failed: %s",
			i_stream_get_name(input), i_stream_get_error(input));
	} else if (input->eof) {
		*error_r = "the secret file is empty";
	} else {
		*error_r = "the secret is too long";
	}
	return -1;
}

int imapsync_secret_read(struct doveadm_cmd_context *cctx, pool_t pool,
			 const char *label, const char **secret_r,
			 const char **error_r)
{
	struct istream *input;

	*secret_r = NULL;
	if (!doveadm_cmd_param_istream(cctx, "secret-file", &input))
		return 0;
	if (cctx->conn_type == DOVEADM_CONNECTION_TYPE_CLI &&
	    i_stream_get_fd(input) == STDIN_FILENO &&
	    isatty(STDIN_FILENO) != 0)
		return imapsync_secret_ask(pool, label, secret_r, error_r);
	/* the HTTP server has read it to its end already */
	if (cctx->conn_type != DOVEADM_CONNECTION_TYPE_CLI)
		i_stream_seek(input, 0);
	return secret_read_stream(pool, input, secret_r, error_r);
}
