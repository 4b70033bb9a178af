/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "redact.h"
#include "fuzz.h"

static void check_plain(const char *text, size_t max_bytes)
{
	unichar_t chr;
	int len;

	i_assert(strlen(text) <= max_bytes);
	for (; *text != '\0'; text += len) {
		len = uni_utf8_get_char(text, &chr);
		i_assert(len > 0);
		i_assert(!redact_char_is_unsafe(chr));
	}
}

/* A first line that is the secret, then the text. */
static void fuzz_redact(const char *input)
{
	const char *text = strchr(input, '\n'), *result;
	const char *secrets[] = { NULL, NULL };

	if (text != NULL)
		secrets[0] = t_strdup_until(input, text);
	else
		text = input;
	result = redact_remote_text(text, secrets);
	check_plain(result, REDACT_MAX_BYTES);
	/* what marks the place of a secret may hold another one */
	if (secrets[0] != NULL && strlen(secrets[0]) >= 4 &&
	    strpbrk(secrets[0], "<secrt>.") == NULL)
		i_assert(strstr(result, secrets[0]) == NULL);
	check_plain(redact_remote_name(text), 255);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		fuzz_redact(fuzz_text(data, size));
	} T_END;
	return 0;
}
