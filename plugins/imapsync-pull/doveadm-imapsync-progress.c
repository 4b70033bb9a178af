/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "str.h"
#include "strnum.h"
#include "time-util.h"
#include "unichar.h"
#include "dovecot-compat.h"
#include "doveadm-imapsync.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* the eye needs no more */
#define PROGRESS_INTERVAL_MSECS 100
#define PROGRESS_DEFAULT_COLUMNS 80
#define PROGRESS_CLEAR "\r\033[K"

static bool progress_shown = FALSE;
static struct timeval progress_last;

static unsigned int progress_columns(void)
{
	struct winsize ws;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) < 0 || ws.ws_col == 0)
		return PROGRESS_DEFAULT_COLUMNS;
	return ws.ws_col;
}

static const char *progress_size(const char *bytes)
{
	uintmax_t size;

	if (str_to_uintmax(bytes, &size) < 0)
		return "";
	if (size < 1000*1000)
		return t_strdup_printf("%ju kB", size / 1000);
	return t_strdup_printf("%ju.%ju MB", size / 1000000,
			       size / 100000 % 10);
}

/* Cut at a character; wide ones are not counted as such. */
static void progress_cut(string_t *text, unsigned int columns)
{
	const char *str = str_c(text);
	size_t pos = 0;

	while (columns > 0 && str[pos] != '\0') {
		pos += uni_utf8_char_bytes(str[pos]);
		columns--;
	}
	if (pos < str_len(text))
		str_truncate(text, pos);
}

void imapsync_progress_show(const char *const *args)
{
	string_t *text;
	struct timeval now;

	if (isatty(STDERR_FILENO) == 0)
		return;
	i_gettimeofday(&now);
	if (progress_shown && timeval_diff_msecs(&now, &progress_last) <
	    PROGRESS_INTERVAL_MSECS)
		return;
	progress_last = now;
	progress_shown = TRUE;

	text = t_str_new(128);
	str_printfa(text, "%s: %s", args[4], args[0]);
	if (strcmp(args[2], "0") != 0) {
		str_printfa(text, " %s/%s %s", args[1], args[2],
			    progress_size(args[3]));
	}
	/* the last column makes some terminals go to the next line */
	progress_cut(text, progress_columns() - 1);
	fprintf(stderr, PROGRESS_CLEAR"%s", str_c(text));
	fflush(stderr);
}

void imapsync_progress_clear(void)
{
	if (!progress_shown)
		return;
	progress_shown = FALSE;
	fputs(PROGRESS_CLEAR, stderr);
	fflush(stderr);
}
