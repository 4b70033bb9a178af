/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "base64.h"
#include "buffer.h"
#include "str.h"
#include "core/http-ask.h"
#include "fuzz.h"

/* A PLAIN response has its two NULs where they belong, and no others. */
static void check_plain(const char *secret)
{
	buffer_t *plain = t_base64_decode_str(secret);
	const char *data = plain->data;
	size_t i, nuls = 0;

	i_assert(plain->used > 2 && data[0] == '\0' && data[1] != '\0');
	for (i = 0; i < plain->used; i++)
		nuls += data[i] == '\0' ? 1 : 0;
	i_assert(nuls == 2);
}

/* Lines: method, path, query, scheme, data, host, origin, origins, id. */
static void fuzz_ask(const char *const *lines)
{
	const char *secret, *allow;
	enum http_route route;
	enum http_login login;
	string_t *str = t_str_new(256);

	if (http_ask_route(lines[0], lines[1], &route, &allow) != 0)
		i_assert(*allow != '\0');
	login = http_ask_login(*lines[3] == '\0' ? NULL : lines[3],
			       *lines[4] == '\0' ? NULL : lines[4], lines[2],
			       &secret);
	if (login == HTTP_LOGIN_BASIC)
		check_plain(secret);
	else if (login != HTTP_LOGIN_TOKEN)
		i_assert(*secret == '\0');
	if (http_ask_origin("", lines[5], lines[6]) == HTTP_ORIGIN_OWN)
		i_assert(strcasestr(lines[6], lines[5]) != NULL);
	(void)http_ask_origin(lines[7], lines[5], lines[6]);
	if (http_ask_id_is_valid(lines[8])) {
		http_ask_event(str, "notice", lines[8], "{}");
		i_assert(strpbrk(lines[8], " \r\n/&") == NULL);
	}
	(void)http_ask_resume(lines, 9, lines[8]);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		const char *const *lines = t_strsplit(t_strconcat(
			fuzz_text(data, size), "\n\n\n\n\n\n\n\n\n", NULL),
			"\n");

		fuzz_ask(lines);
	} T_END;
	return 0;
}
