/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "strescape.h"
#include "core/report.h"
#include "fuzz.h"

/* Lines that cred-notify says, as whoever has its socket may say them. */
static void fuzz_answers(const char *const *lines)
{
	struct report_window window;
	uint64_t id, seq, next = 1, acked = 0;

	report_window_init(&window);
	for (; *lines != NULL; lines++) {
		while (!report_window_is_full(&window))
			report_window_add(&window, next++);
		while (report_window_next(&window, &seq, &id)) {
			i_assert(seq == id);
			report_window_sent(&window);
		}
		if (report_parse(*lines, &id) <= 0) {
			report_window_rewind(&window);
		} else if (report_window_ack(&window, id, &seq) > 0) {
			i_assert(seq == id && seq > acked && seq < next);
			acked = seq;
		}
	}
}

/* An account's names as they may be: one line with nothing loose in it. */
static void fuzz_write(const char *const *lines)
{
	const struct report report = {
		.kind = REPORT_FAIL,
		.account = lines[0],
		.owner = lines[1],
		.label = lines[1] == NULL ? NULL : lines[2],
		.class = "credential",
		.hint = "expired",
	};
	string_t *str = t_str_new(256);
	const char *const *args;

	if (!report_write(str, &report, 1)) {
		i_assert(str_len(str) == 0);
		return;
	}
	i_assert(str_len(str) <= REPORT_MAX_LINE);
	i_assert(strchr(str_c(str), '\n') == str_c(str) + str_len(str) - 1);
	str_truncate(str, str_len(str) - 1);
	args = t_strsplit(str_c(str), "\t");
	i_assert(strncmp(args[3], "account=", 8) == 0);
	i_assert(strcmp(str_tabunescape(t_strdup_noconst(args[3] + 8)),
			report.account) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		const char *const *lines =
			t_strsplit(fuzz_text(data, size), "\n");

		fuzz_answers(lines);
		if (lines[0] != NULL)
			fuzz_write(lines);
	} T_END;
	return 0;
}
