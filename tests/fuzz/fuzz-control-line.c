/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "strescape.h"
#include "core/control-line.h"
#include "fuzz.h"

/* NULL if arg has no "=". */
static const char *arg_key(const char *arg)
{
	const char *equals = strchr(arg, '=');

	return equals == NULL ? NULL : t_strdup_until(arg, equals);
}

/* The first of a key is the one that counts. */
static const char *first_value(const char *const *args, const char *key)
{
	for (; *args != NULL; args++) {
		if (null_strcmp(arg_key(*args), key) == 0)
			return strchr(*args, '=') + 1;
	}
	i_unreached();
}

/* Every key is found; its value is written, and is found again. */
static void fuzz_control_line(const char *text)
{
	const char *const *args = t_strsplit_tabescaped(text);
	const char *const *arg, *key, *value, *const *again;
	string_t *line = t_str_new(256);

	for (arg = args; *arg != NULL; arg++) {
		key = arg_key(*arg);
		if (key == NULL)
			continue;
		value = control_line_get(args, key);
		i_assert(null_strcmp(value, first_value(args, key)) == 0);
		str_truncate(line, 0);
		str_append(line, "row");
		control_line_add(line, "value", value);
		i_assert(strpbrk(str_c(line), "\n") == NULL);
		again = t_strsplit_tabescaped(str_c(line));
		i_assert(str_array_length(again) == 2);
		i_assert(strcmp(control_line_get(again + 1, "value"),
				value) == 0);
	}
	(void)control_line_get(args, "user");
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		fuzz_control_line(fuzz_text(data, size));
	} T_END;
	return 0;
}
