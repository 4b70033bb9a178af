/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "unichar.h"
#include "core/account.h"
#include "core/folder-map.h"
#include "fuzz.h"

#define MAX_FOLDERS 32

/* The first line holds the local separator and the account's settings, with
   tabs between them. Each other line is a folder: a digit of flags, the
   separator, the name. */

static void
check_name(const struct folder_mapped *mapped, char separator)
{
	const char separators[] = { separator, '\0' };
	const char *const *level = t_strsplit(mapped->local_name, separators);

	i_assert(uni_utf8_str_is_valid(mapped->local_name));
	i_assert(strlen(mapped->local_name) <= 255);
	i_assert(mapped->local_name[0] != '/' && mapped->local_name[0] != '~');
	i_assert(strpbrk(mapped->local_name, "\r\n\t\033\177") == NULL);
	for (; *level != NULL; level++) {
		i_assert(**level != '\0' && strcmp(*level, ".") != 0 &&
			 strcmp(*level, "..") != 0);
	}
}

static void
check_map(const struct folder_mapped *mapped, unsigned int count,
	  char separator)
{
	unsigned int i, j;

	for (i = 0; i < count; i++) {
		i_assert(mapped[i].selected == (mapped[i].reason == NULL));
		if (mapped[i].local_name == NULL) {
			i_assert(!mapped[i].selected);
			continue;
		}
		check_name(&mapped[i], separator);
		for (j = 0; j < i && mapped[i].selected; j++) {
			i_assert(!mapped[j].selected ||
				 strcmp(mapped[i].local_name,
					mapped[j].local_name) != 0);
		}
	}
}

static unsigned int
read_folders(const char *const *lines, struct folder_listed *listed)
{
	unsigned int count = 0;

	for (; *lines != NULL && count < MAX_FOLDERS; lines++) {
		const char *line = *lines;

		if (line[0] == '\0' || line[1] == '\0')
			continue;
		listed[count].utf8 = (line[0] & 1) != 0;
		listed[count].noselect = (line[0] & 2) != 0;
		listed[count].subscribed = (line[0] & 4) != 0;
		if ((line[0] & 8) != 0)
			listed[count].special_use = FOLDER_SPECIAL_SENT;
		listed[count].separator = line[1] == '0' ? '\0' : line[1];
		listed[count].remote_name = line + 2;
		count++;
	}
	return count;
}

static void fuzz_folder_map(pool_t pool, const char *text)
{
	struct folder_listed *listed =
		p_new(pool, struct folder_listed, MAX_FOLDERS);
	struct folder_mapped *mapped =
		p_new(pool, struct folder_mapped, MAX_FOLDERS);
	const char *const *lines = t_strsplit(text, "\n"), *error;
	struct folder_local local = { .separator = '/', .prefix = "" };
	struct account account;
	unsigned int count;

	if (*lines == NULL || **lines == '\0')
		return;
	if (**lines == '.')
		local.separator = '.';
	if (account_parse(pool, "anna", "work", t_strsplit(t_strconcat(
				"host=h\tlogin=l", *lines + 1, NULL), "\t"),
			  &account, &error) < 0)
		return;
	count = read_folders(lines + 1, listed);
	if (folder_map_make(pool, &account, &local, listed, count, mapped,
			    &error) == 0)
		check_map(mapped, count, local.separator);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		pool_t pool = pool_allocfree_create("fuzz folder map");

		fuzz_folder_map(pool, fuzz_text(data, size));
		pool_unref(&pool);
	} T_END;
	return 0;
}
