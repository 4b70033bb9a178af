/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_INPUT_SIZE (512 * 1024)

/* Replays inputs: the files and directories named, or the corpus of the target
   the program is named after. Fails if there is none. */

static unsigned int replayed;

static void replay_file(const char *path)
{
	unsigned char *data = i_malloc(MAX_INPUT_SIZE);
	FILE *file = fopen(path, "rb");
	size_t size;

	if (file == NULL)
		i_fatal("open(%s) failed: %m", path);
	size = fread(data, 1, MAX_INPUT_SIZE, file);
	if (ferror(file) != 0)
		i_fatal("read(%s) failed: %m", path);
	fclose(file);
	(void)LLVMFuzzerTestOneInput(data, size);
	i_free(data);
	replayed++;
}

static void replay(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (dir == NULL) {
		replay_file(path);
		return;
	}
	while ((entry = readdir(dir)) != NULL) T_BEGIN {
		if (entry->d_name[0] != '.')
			replay_file(t_strconcat(path, "/", entry->d_name,
						NULL));
	} T_END;
	closedir(dir);
}

static const char *corpus_of(const char *program)
{
	const char *srcdir = getenv("top_srcdir");
	const char *name = strstr(program, "fuzz-");

	/* libtool runs .libs/lt-fuzz-x */
	while (name != NULL && strstr(name + 1, "fuzz-") != NULL)
		name = strstr(name + 1, "fuzz-");
	if (name == NULL)
		i_fatal("%s is not called fuzz-...", program);
	return t_strdup_printf("%s/tests/fuzz/corpus/%s",
			       srcdir == NULL ? "." : srcdir, name + 5);
}

int main(int argc, char *argv[])
{
	int i;

	fuzz_init();
	(void)LLVMFuzzerTestOneInput((const unsigned char *)"", 0);
	for (i = 1; i < argc; i++)
		replay(argv[i]);
	if (argc == 1)
		replay(corpus_of(argv[0]));
	if (replayed == 0)
		i_fatal("no input found");
	printf("%u inputs\n", replayed);
	lib_deinit();
	return 0;
}
