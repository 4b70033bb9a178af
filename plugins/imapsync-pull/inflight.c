/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* OFD locks */
#ifndef _GNU_SOURCE
#  define _GNU_SOURCE
#endif
#include "lib.h"
#include "array.h"
#include "buffer.h"
#include "byteorder.h"
#include "sha2.h"
#include "inflight.h"

#include <fcntl.h>
#include <unistd.h>
#include <sys/stat.h>

/* The first page says what the file is; each slot is a page of its own, so
   that the kernel takes what is written into one as a whole or not at all,
   whenever a process is killed. Numbers are big-endian.

   header: magic[8] version[4] slots[4]
   slot:   state[1] flags[1] stores[2] uidvalidity[4] uid[4] used[4]
	   folder_hash[8] nonce[8], then "used" bytes of stores
   store:  mailbox_len[2] guid_len[2] size[8] mailbox guid */

#define INFLIGHT_PAGE 4096
#define INFLIGHT_FILE_SIZE (INFLIGHT_PAGE * (1 + INFLIGHT_SLOTS))
#define INFLIGHT_MAGIC "imsynIF\n"
#define INFLIGHT_VERSION 1
#define INFLIGHT_HEADER_SIZE 16
#define SLOT_HEADER_SIZE 32
#define STORE_HEADER_SIZE 12
#define SLOT_FLAG_INCOMPLETE 0x01
#define SLOT_FLAG_COMMITTING 0x02

struct inflight {
	int fd;
	char *path;
};

uint64_t inflight_folder_hash(const char *remote_folder)
{
	unsigned char digest[SHA256_RESULTLEN];

	sha256_get_digest(remote_folder, strlen(remote_folder), digest);
	return be64_to_cpu_unaligned(digest);
}

const char *inflight_path(const char *state_dir, const char *source_id)
{
	return t_strdup_printf("%s/%s.inflight", state_dir, source_id);
}

/*
 * File
 */

static int
read_full_at(struct inflight *inflight, void *data, size_t size, off_t offset,
	     const char **error_r)
{
	ssize_t ret = pread(inflight->fd, data, size, offset);

	if (ret == (ssize_t)size)
		return 0;
	if (ret < 0)
		*error_r = t_strdup_printf("pread(%s) failed: %m",
					   inflight->path);
	else
		*error_r = t_strdup_printf("%s is too short", inflight->path);
	return -1;
}

static int
write_full_at(struct inflight *inflight, const void *data, size_t size,
	      off_t offset, const char **error_r)
{
	ssize_t ret = pwrite(inflight->fd, data, size, offset);

	if (ret == (ssize_t)size)
		return 0;
	if (ret >= 0)
		errno = ENOSPC;
	*error_r = t_strdup_printf("pwrite(%s) failed: %m", inflight->path);
	return -1;
}

static int
inflight_lock_range(struct inflight *inflight, off_t start, short type,
		    bool wait)
{
	struct flock fl;

	i_zero(&fl);
	fl.l_type = type;
	fl.l_whence = SEEK_SET;
	fl.l_start = start;
	fl.l_len = INFLIGHT_PAGE;
	return fcntl(inflight->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &fl);
}

/* 1 = ours, 0 = an empty page: its creator died before it wrote the header,
   when nothing could have been entered yet */
static int
inflight_check_header(struct inflight *inflight, const char **error_r)
{
	static const unsigned char empty[INFLIGHT_HEADER_SIZE];
	unsigned char header[INFLIGHT_HEADER_SIZE];

	if (read_full_at(inflight, header, sizeof(header), 0, error_r) < 0)
		return -1;
	if (memcmp(header, empty, sizeof(header)) == 0) {
		*error_r = t_strdup_printf("%s is empty", inflight->path);
		return 0;
	}
	if (memcmp(header, INFLIGHT_MAGIC, 8) != 0) {
		*error_r = t_strdup_printf("%s is not an in-flight file",
					   inflight->path);
		return -1;
	}
	if (be32_to_cpu_unaligned(header + 8) != INFLIGHT_VERSION ||
	    be32_to_cpu_unaligned(header + 12) != INFLIGHT_SLOTS) {
		*error_r = t_strdup_printf("%s is of another version",
					   inflight->path);
		return -1;
	}
	return 1;
}

static int inflight_check_file(struct inflight *inflight, struct stat *st_r,
			       const char **error_r)
{
	if (fstat(inflight->fd, st_r) < 0) {
		*error_r = t_strdup_printf("fstat(%s) failed: %m",
					   inflight->path);
		return -1;
	}
	if (!S_ISREG(st_r->st_mode) || st_r->st_uid != geteuid()) {
		*error_r = t_strdup_printf("%s is not a regular file of ours",
					   inflight->path);
		return -1;
	}
	return 0;
}

static int fsync_dir_of(const char *path, const char **error_r)
{
	const char *p = strrchr(path, '/');
	const char *dir = p == NULL ? "." : t_strdup_until(path, p);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret;

	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", dir);
		return -1;
	}
	if ((ret = fsync(fd)) < 0)
		*error_r = t_strdup_printf("fsync(%s) failed: %m", dir);
	i_close_fd(&fd);
	return ret;
}

/* Space first, header last: a file with a header is whole. */
static int inflight_format(struct inflight *inflight, const char **error_r)
{
	unsigned char header[INFLIGHT_HEADER_SIZE];
	int err;

	err = posix_fallocate(inflight->fd, 0, INFLIGHT_FILE_SIZE);
	if (err != 0) {
		errno = err;
		*error_r = t_strdup_printf("posix_fallocate(%s) failed: %m",
					   inflight->path);
		return -1;
	}
	if (inflight_sync(inflight, error_r) < 0)
		return -1;
	memcpy(header, INFLIGHT_MAGIC, 8);
	cpu32_to_be_unaligned(INFLIGHT_VERSION, header + 8);
	cpu32_to_be_unaligned(INFLIGHT_SLOTS, header + 12);
	if (write_full_at(inflight, header, sizeof(header), 0, error_r) < 0 ||
	    inflight_sync(inflight, error_r) < 0)
		return -1;
	return fsync_dir_of(inflight->path, error_r);
}

static int inflight_create(struct inflight *inflight, const char **error_r)
{
	struct stat st;
	int ret;

	/* two creators: the second finds the header when it gets the lock */
	if (inflight_lock_range(inflight, 0, F_WRLCK, TRUE) < 0) {
		*error_r = t_strdup_printf("fcntl(%s) failed: %m",
					   inflight->path);
		return -1;
	}
	if (inflight_check_file(inflight, &st, error_r) < 0)
		return -1;
	ret = st.st_size == 0 ? 0 : inflight_check_header(inflight, error_r);
	if (ret == 0)
		ret = inflight_format(inflight, error_r);
	(void)inflight_lock_range(inflight, 0, F_UNLCK, FALSE);
	return ret < 0 ? -1 : 0;
}

static int inflight_check(struct inflight *inflight, const char **error_r)
{
	struct stat st;

	if (inflight_check_file(inflight, &st, error_r) < 0)
		return -1;
	return inflight_check_header(inflight, error_r) > 0 ? 0 : -1;
}

int inflight_open(const char *path, bool create, struct inflight **inflight_r,
		  const char **error_r)
{
	struct inflight *inflight;
	int fd, ret, flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;

	*inflight_r = NULL;
	fd = open(path, flags | (create ? O_CREAT : 0), 0600);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	inflight = i_new(struct inflight, 1);
	inflight->fd = fd;
	inflight->path = i_strdup(path);
	ret = create ? inflight_create(inflight, error_r) :
		inflight_check(inflight, error_r);
	if (ret < 0)
		inflight_close(&inflight);
	*inflight_r = inflight;
	return ret;
}

void inflight_close(struct inflight **_inflight)
{
	struct inflight *inflight = *_inflight;

	if (inflight == NULL)
		return;
	*_inflight = NULL;
	i_close_fd(&inflight->fd);
	i_free(inflight->path);
	i_free(inflight);
}

int inflight_sync(struct inflight *inflight, const char **error_r)
{
	if (fdatasync(inflight->fd) == 0)
		return 0;
	*error_r = t_strdup_printf("fdatasync(%s) failed: %m", inflight->path);
	return -1;
}

/*
 * Slots
 */

static off_t slot_offset(unsigned int slot)
{
	i_assert(slot < INFLIGHT_SLOTS);
	return (off_t)INFLIGHT_PAGE * (1 + slot);
}

/* One store from data; returns its bytes, or 0 if it makes no sense. */
static size_t
store_parse(pool_t pool, const unsigned char *data, size_t size,
	    struct inflight_store *store_r)
{
	const unsigned char *p = data + STORE_HEADER_SIZE;
	size_t mailbox_len, guid_len;

	if (size < STORE_HEADER_SIZE)
		return 0;
	mailbox_len = be16_to_cpu_unaligned(data);
	guid_len = be16_to_cpu_unaligned(data + 2);
	if (size - STORE_HEADER_SIZE < mailbox_len + guid_len ||
	    memchr(p, '\0', mailbox_len + guid_len) != NULL)
		return 0;
	store_r->size = be64_to_cpu_unaligned(data + 4);
	store_r->mailbox = p_strndup(pool, p, mailbox_len);
	store_r->guid = p_strndup(pool, p + mailbox_len, guid_len);
	return STORE_HEADER_SIZE + mailbox_len + guid_len;
}

static void
slot_parse_stores(pool_t pool, const unsigned char *data, size_t size,
		  unsigned int count, struct inflight_slot *slot)
{
	/* count comes from the file: no more than can be there */
	unsigned int max = I_MIN(count, size / STORE_HEADER_SIZE);
	struct inflight_store *stores = p_new(pool, struct inflight_store,
					      I_MAX(max, 1));
	size_t len;

	slot->stores = stores;
	while (slot->store_count < max) {
		len = store_parse(pool, data, size,
				  &stores[slot->store_count]);
		if (len == 0)
			break;
		data += len;
		size -= len;
		slot->store_count++;
	}
	if (slot->store_count != count)
		slot->stores_incomplete = TRUE;
}

int inflight_read(struct inflight *inflight, unsigned int slot, pool_t pool,
		  struct inflight_slot *slot_r, const char **error_r)
{
	unsigned char page[INFLIGHT_PAGE];
	size_t used;

	i_zero(slot_r);
	if (read_full_at(inflight, page, sizeof(page), slot_offset(slot),
			 error_r) < 0)
		return -1;
	if (page[0] > INFLIGHT_DONE) {
		*error_r = t_strdup_printf("%s: slot %u has unknown state %u",
					   inflight->path, slot, page[0]);
		return -1;
	}
	slot_r->state = page[0];
	slot_r->stores_incomplete = (page[1] & SLOT_FLAG_INCOMPLETE) != 0;
	slot_r->committing = (page[1] & SLOT_FLAG_COMMITTING) != 0;
	slot_r->uidvalidity = be32_to_cpu_unaligned(page + 4);
	slot_r->uid = be32_to_cpu_unaligned(page + 8);
	used = be32_to_cpu_unaligned(page + 12);
	slot_r->folder_hash = be64_to_cpu_unaligned(page + 16);
	slot_r->nonce = be64_to_cpu_unaligned(page + 24);
	slot_parse_stores(pool, page + SLOT_HEADER_SIZE,
			  I_MIN(used, INFLIGHT_PAGE - SLOT_HEADER_SIZE),
			  be16_to_cpu_unaligned(page + 2), slot_r);
	return 0;
}

/* FALSE = the slot is full. */
static bool store_append(buffer_t *page, const struct inflight_store *store)
{
	size_t mailbox_len = strlen(store->mailbox);
	size_t guid_len = strlen(store->guid);
	unsigned char *p;

	if (mailbox_len > INFLIGHT_PAGE || guid_len > INFLIGHT_PAGE ||
	    page->used + STORE_HEADER_SIZE + mailbox_len + guid_len >
	    INFLIGHT_PAGE)
		return FALSE;
	p = buffer_append_space_unsafe(page, STORE_HEADER_SIZE);
	cpu16_to_be_unaligned(mailbox_len, p);
	cpu16_to_be_unaligned(guid_len, p + 2);
	cpu64_to_be_unaligned(store->size, p + 4);
	buffer_append(page, store->mailbox, mailbox_len);
	buffer_append(page, store->guid, guid_len);
	return TRUE;
}

static void slot_print(buffer_t *page, const struct inflight_slot *data)
{
	bool incomplete = data->stores_incomplete;
	unsigned int i, count = 0;
	unsigned char *p;

	(void)buffer_append_space_unsafe(page, SLOT_HEADER_SIZE);
	for (i = 0; i < data->store_count; i++) {
		if (store_append(page, &data->stores[i]))
			count++;
		else
			incomplete = TRUE;
	}
	p = buffer_get_space_unsafe(page, 0, SLOT_HEADER_SIZE);
	p[0] = data->state;
	p[1] = (incomplete ? SLOT_FLAG_INCOMPLETE : 0) |
		(data->committing ? SLOT_FLAG_COMMITTING : 0);
	cpu16_to_be_unaligned(count, p + 2);
	cpu32_to_be_unaligned(data->uidvalidity, p + 4);
	cpu32_to_be_unaligned(data->uid, p + 8);
	cpu32_to_be_unaligned(page->used - SLOT_HEADER_SIZE, p + 12);
	cpu64_to_be_unaligned(data->folder_hash, p + 16);
	cpu64_to_be_unaligned(data->nonce, p + 24);
}

/* In one write: a slot is seen before or after it, never in between. */
static int
slot_write(struct inflight *inflight, unsigned int slot,
	   const struct inflight_slot *data, const char **error_r)
{
	int ret;

	T_BEGIN {
		buffer_t *page = t_buffer_create(INFLIGHT_PAGE);

		slot_print(page, data);
		ret = write_full_at(inflight, page->data, page->used,
				    slot_offset(slot), error_r);
	} T_END_PASS_STR_IF(ret < 0, error_r);
	return ret;
}

int inflight_enter(struct inflight *inflight, unsigned int slot,
		   uint64_t folder_hash, uint32_t uidvalidity, uint32_t uid,
		   uint64_t nonce, bool keep_stores, const char **error_r)
{
	struct inflight_slot old, new;

	i_zero(&new);
	new.state = INFLIGHT_ENTERED;
	new.folder_hash = folder_hash;
	new.uidvalidity = uidvalidity;
	new.uid = uid;
	new.nonce = nonce;
	if (keep_stores) {
		if (inflight_read(inflight, slot, pool_datastack_create(),
				  &old, error_r) < 0)
			return -1;
		if (old.state != INFLIGHT_FREE &&
		    old.folder_hash == folder_hash &&
		    old.uidvalidity == uidvalidity && old.uid == uid) {
			new.stores = old.stores;
			new.store_count = old.store_count;
			new.stores_incomplete = old.stores_incomplete;
			new.committing = old.committing;
		}
	}
	return slot_write(inflight, slot, &new, error_r);
}

static int
slot_write_state(struct inflight *inflight, unsigned int slot,
		 enum inflight_state state, const char **error_r)
{
	unsigned char byte = state;

	return write_full_at(inflight, &byte, 1, slot_offset(slot), error_r);
}

int inflight_free(struct inflight *inflight, unsigned int slot,
		  const char **error_r)
{
	return slot_write_state(inflight, slot, INFLIGHT_FREE, error_r);
}

int inflight_lock(struct inflight *inflight, unsigned int slot,
		  const char **error_r)
{
	if (inflight_lock_range(inflight, slot_offset(slot), F_WRLCK,
				FALSE) == 0)
		return 1;
	if (errno == EAGAIN || errno == EACCES)
		return 0;
	*error_r = t_strdup_printf("fcntl(%s, F_OFD_SETLK) failed: %m",
				   inflight->path);
	return -1;
}

void inflight_unlock(struct inflight *inflight, unsigned int slot)
{
	(void)inflight_lock_range(inflight, slot_offset(slot), F_UNLCK, FALSE);
}

int inflight_note_store(struct inflight *inflight, unsigned int slot,
			const struct inflight_store *store,
			const char **error_r)
{
	struct inflight_slot data;
	ARRAY(struct inflight_store) stores;
	int ret;

	T_BEGIN {
		ret = inflight_read(inflight, slot, pool_datastack_create(),
				    &data, error_r);
		if (ret == 0) {
			t_array_init(&stores, data.store_count + 1);
			array_append(&stores, data.stores, data.store_count);
			array_push_back(&stores, store);
			data.stores = array_get(&stores, &data.store_count);
			data.state = INFLIGHT_STORING;
			data.committing = FALSE;
			ret = slot_write(inflight, slot, &data, error_r);
		}
	} T_END_PASS_STR_IF(ret < 0, error_r);
	return ret;
}

int inflight_note_commit(struct inflight *inflight, unsigned int slot,
			 const char **error_r)
{
	unsigned char flags;
	const off_t offset = slot_offset(slot) + 1;

	if (read_full_at(inflight, &flags, 1, offset, error_r) < 0)
		return -1;
	flags |= SLOT_FLAG_COMMITTING;
	return write_full_at(inflight, &flags, 1, offset, error_r);
}

int inflight_done(struct inflight *inflight, unsigned int slot,
		  const struct inflight_store *stores, unsigned int count,
		  const char **error_r)
{
	struct inflight_slot data;
	int ret;

	if (stores == NULL) {
		return slot_write_state(inflight, slot, INFLIGHT_DONE,
					error_r);
	}
	T_BEGIN {
		ret = inflight_read(inflight, slot, pool_datastack_create(),
				    &data, error_r);
		if (ret == 0) {
			data.state = INFLIGHT_DONE;
			data.stores = stores;
			data.store_count = count;
			data.stores_incomplete = FALSE;
			ret = slot_write(inflight, slot, &data, error_r);
		}
	} T_END_PASS_STR_IF(ret < 0, error_r);
	return ret;
}
