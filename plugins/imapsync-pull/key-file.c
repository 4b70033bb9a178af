/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "buffer.h"
#include "eacces-error.h"
#include "hex-binary.h"
#include "randgen.h"
#include "read-full.h"
#include "safe-memset.h"
#include "str.h"
#include "write-full.h"
#include "dovecot-compat.h"
#include "key-file.h"
#include "secret.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* room for hundreds of keys */
#define KEY_FILE_MAX_SIZE (64*1024)
#define KEY_HEX_SIZE (SECRET_KEY_SIZE * 2)

static const char *key_file_open_error(const char *what, const char *path)
{
	if (errno == EACCES)
		return eacces_error_get(what, path);
	return t_strdup_printf("%s(%s) failed: %m", what, path);
}

static int key_file_sync_dir(const char *path, const char **error_r)
{
	const char *dir = t_strdup_until(path, strrchr(path, '/'));
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = 0;

	if (fd == -1 || fsync(fd) < 0) {
		*error_r = t_strdup_printf("fsync(%s) failed: %m", dir);
		ret = -1;
	}
	i_close_fd(&fd);
	return ret;
}

static int
key_file_write(const char *path, const string_t *text, const char **error_r)
{
	int fd, ret = 0;

	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd == -1) {
		*error_r = key_file_open_error("creat", path);
		return -1;
	}
	if (write_full(fd, str_data(text), str_len(text)) < 0 ||
	    fsync(fd) < 0 || fchmod(fd, 0600) < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %m", path);
		ret = -1;
	}
	i_close_fd(&fd);
	return ret;
}

/* link() gives the name only to a file that is complete, and never takes it
   from one that is there. */
static int
key_file_create(const char *path, const string_t *text, const char **error_r)
{
	const char *temp_path;
	unsigned char suffix[8];
	int ret;

	i_assert(*path == '/');

	random_fill(suffix, sizeof(suffix));
	temp_path = t_strdup_printf("%s.new-%s", path,
		binary_to_hex(suffix, sizeof(suffix)));
	ret = key_file_write(temp_path, text, error_r);
	if (ret == 0) {
		if (link(temp_path, path) == 0)
			ret = 1;
		else if (errno != EEXIST) {
			*error_r = t_strdup_printf("link(%s, %s) failed: %m",
						   temp_path, path);
			ret = -1;
		}
	}
	i_unlink_if_exists(temp_path);
	if (ret > 0 && key_file_sync_dir(path, error_r) < 0)
		return -1;
	return ret;
}

static int
key_file_create_random(const char *path, const char *prefix,
		       const char **error_r)
{
	unsigned char key[SECRET_KEY_SIZE];
	string_t *text;
	pool_t pool;
	int ret;

	if (access(path, F_OK) == 0)
		return 0;
	if (errno != ENOENT) {
		*error_r = key_file_open_error("access", path);
		return -1;
	}
	pool = pool_alloconly_create_clean("key file", 512);
	text = str_new(pool, 256);
	random_fill(key, sizeof(key));
	str_append(text, prefix);
	binary_to_hex_append(text, key, sizeof(key));
	str_append_c(text, '\n');
	safe_memset(key, 0, sizeof(key));
	ret = key_file_create(path, text, error_r);
	pool_unref(&pool);
	return ret;
}

int key_file_create_master(const char *path, const char **error_r)
{
	return key_file_create_random(path, "1 ", error_r);
}

int key_file_create_header(const char *path, const char **error_r)
{
	return key_file_create_random(path, "", error_r);
}

static int
key_file_check_master(const struct stat *st, const char *path,
		      const char **error_r)
{
	if (st->st_uid != 0 && st->st_uid != geteuid()) {
		*error_r = t_strdup_printf("%s belongs to uid %s: it must "
			"belong to the service's user (uid %s)", path,
			dec2str(st->st_uid), dec2str(geteuid()));
		return -1;
	}
	if ((st->st_mode & 077) != 0) {
		*error_r = t_strdup_printf("%s may be used by others (mode "
			"%04o): chmod 0600 it, and change the passwords if "
			"it was read", path, st->st_mode & 07777);
		return -1;
	}
	return 0;
}

static int
key_file_check_header(const struct stat *st, const char *path,
		      const char **error_r)
{
	if ((st->st_mode & 027) != 0) {
		*error_r = t_strdup_printf("%s may be used by others (mode "
			"%04o): chmod 0600 it, or 0640 for an lmtp that is "
			"not root", path, st->st_mode & 07777);
		return -1;
	}
	return 0;
}

typedef int key_file_check_t(const struct stat *st, const char *path,
			     const char **error_r);

static int
key_file_read_fd(int fd, const char *path, key_file_check_t *check,
		 pool_t pool, char **text_r, const char **error_r)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		*error_r = t_strdup_printf("fstat(%s) failed: %m", path);
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		*error_r = t_strdup_printf("%s is not a regular file", path);
		return -1;
	}
	if (check(&st, path, error_r) < 0)
		return -1;
	if (st.st_size == 0 || st.st_size > KEY_FILE_MAX_SIZE) {
		*error_r = t_strdup_printf("%s is %s: put back the file from "
			"your backup", path, st.st_size == 0 ? "empty" :
			"too large to be a key file");
		return -1;
	}
	*text_r = p_malloc(pool, st.st_size + 1);
	if (read_full(fd, *text_r, st.st_size) <= 0) {
		*error_r = t_strdup_printf("read(%s) failed: %m", path);
		return -1;
	}
	return 0;
}

static int
key_file_read(const char *path, key_file_check_t *check, pool_t pool,
	      char **text_r, const char **error_r)
{
	/* not blocked by a FIFO */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int ret;

	if (fd == -1) {
		*error_r = key_file_open_error("open", path);
		return -1;
	}
	ret = key_file_read_fd(fd, path, check, pool, text_r, error_r);
	i_close_fd(&fd);
	return ret;
}

static int
key_parse(const char *hex, unsigned char key_r[SECRET_KEY_SIZE],
	  const char **error_r)
{
	buffer_t *bin = buffer_create_dynamic(default_pool, KEY_HEX_SIZE);
	bool ok;

	ok = strlen(hex) == KEY_HEX_SIZE && hex_to_binary(hex, bin) == 0;
	if (ok)
		memcpy(key_r, bin->data, SECRET_KEY_SIZE);
	else {
		*error_r = t_strdup_printf("not %d hex digits (truncated?): "
			"put back the file from your backup", KEY_HEX_SIZE);
	}
	safe_memset(buffer_get_modifiable_data(bin, NULL), 0, bin->used);
	buffer_free(&bin);
	return ok ? 0 : -1;
}

/* Cuts the line up where it is: parts of it must not be copied about. */
static int
key_line_add(char *line, struct secret_ring *ring, const char **error_r)
{
	unsigned char key[SECRET_KEY_SIZE];
	char *hex = strchr(line, ' ');
	int ret;

	if (hex == NULL) {
		*error_r = "not '<id> <key>' (truncated?): "
			"put back the file from your backup";
		return -1;
	}
	*hex++ = '\0';
	ret = key_parse(hex, key, error_r);
	if (ret == 0)
		ret = secret_ring_add(ring, line, key, error_r);
	safe_memset(key, 0, sizeof(key));
	return ret;
}

static int
key_text_add(char *text, const char *path, struct secret_ring *ring,
	     const char **error_r)
{
	const char *error;
	char *line, *next;
	unsigned int num = 0;

	for (line = text; line != NULL && *line != '\0'; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		num++;
		if (*line == '\0' || *line == '#')
			continue;
		if (key_line_add(line, ring, &error) < 0) {
			*error_r = t_strdup_printf("%s line %u: %s",
						   path, num, error);
			return -1;
		}
	}
	if (secret_ring_current(ring) == NULL) {
		*error_r = t_strdup_printf("%s holds no key: put back the "
			"file from your backup", path);
		return -1;
	}
	return 0;
}

int key_file_read_master(const char *path, struct secret_ring *ring,
			 const char **error_r)
{
	pool_t pool = pool_alloconly_create_clean("key file", 1024);
	char *text;
	int ret;

	ret = key_file_read(path, key_file_check_master, pool, &text, error_r);
	if (ret == 0)
		ret = key_text_add(text, path, ring, error_r);
	pool_unref(&pool);
	return ret;
}

int key_file_read_header(const char *path,
			 unsigned char key_r[KEY_FILE_HEADER_KEY_SIZE],
			 const char **error_r)
{
	pool_t pool = pool_alloconly_create_clean("key file", 1024);
	const char *error;
	char *text, *end;
	int ret;

	memset(key_r, 0, KEY_FILE_HEADER_KEY_SIZE);
	ret = key_file_read(path, key_file_check_header, pool, &text, error_r);
	if (ret == 0) {
		end = strchr(text, '\n');
		if (end != NULL && end[1] == '\0')
			*end = '\0';
		ret = key_parse(text, key_r, &error);
		if (ret < 0)
			*error_r = t_strdup_printf("%s: %s", path, error);
	}
	pool_unref(&pool);
	return ret;
}
