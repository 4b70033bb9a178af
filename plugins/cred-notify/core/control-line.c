/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "str.h"
#include "strescape.h"
#include "dovecot-compat.h"
#include "control-line.h"

const char *control_line_get(const char *const *args, const char *key)
{
	size_t len = strlen(key);

	for (; *args != NULL; args++) {
		if (strncmp(*args, key, len) == 0 && (*args)[len] == '=')
			return *args + len + 1;
	}
	return NULL;
}

void control_line_add(string_t *dest, const char *key, const char *value)
{
	i_assert(strchr(key, '=') == NULL);

	str_append_c(dest, '\t');
	str_append(dest, key);
	str_append_c(dest, '=');
	str_append_tabescaped(dest, value);
}
