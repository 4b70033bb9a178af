/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "buffer.h"
#include "str.h"
#include "istream.h"
#include "safe-mkstemp.h"
#include "write-full.h"
#include "spool.h"

#include <openssl/evp.h>
#include <unistd.h>
#include <fcntl.h>

/* a buffer that grew beyond this is given back when the spool is reset */
#define SPOOL_KEEP_MEMORY (16*1024)

struct spool {
	int refcount;
	char *temp_prefix;
	char *error;

	/* the whole message while fd is -1; then what is not written yet */
	buffer_t *memory;
	int fd;

	uoff_t size;
	/* line ends seen: all, and those that were CRLF */
	uoff_t lf_count, crlf_count;
	bool last_was_cr;

	EVP_MD_CTX *digest;
	unsigned char hash[EVP_MAX_MD_SIZE];
	bool finished;
};

/* Looking up a digest by name costs more than a short message's hash, so it is
   done once for all of them. */
static void spool_digest_init(EVP_MD_CTX *digest)
{
	static EVP_MD_CTX *fresh = NULL;

	if (fresh == NULL) {
		fresh = EVP_MD_CTX_new();
		if (fresh == NULL ||
		    EVP_DigestInit_ex(fresh, EVP_sha256(), NULL) != 1)
			i_fatal_status(FATAL_OUTOFMEM,
				       "OpenSSL has no SHA-256");
	}
	if (digest == NULL || EVP_MD_CTX_copy_ex(digest, fresh) != 1)
		i_fatal_status(FATAL_OUTOFMEM, "EVP_MD_CTX_copy_ex() failed");
}

struct spool *spool_create(const char *temp_prefix)
{
	struct spool *spool = i_new(struct spool, 1);

	spool->refcount = 1;
	spool->temp_prefix = i_strdup(temp_prefix);
	spool->memory = buffer_create_dynamic(default_pool, 4096);
	spool->fd = -1;
	spool->digest = EVP_MD_CTX_new();
	spool_reset(spool);
	return spool;
}

void spool_ref(struct spool *spool)
{
	i_assert(spool->refcount > 0);
	spool->refcount++;
}

void spool_unref(struct spool **_spool)
{
	struct spool *spool = *_spool;

	*_spool = NULL;
	if (spool == NULL || --spool->refcount > 0)
		return;
	i_close_fd(&spool->fd);
	EVP_MD_CTX_free(spool->digest);
	buffer_free(&spool->memory);
	i_free(spool->temp_prefix);
	i_free(spool->error);
	i_free(spool);
}

void spool_reset(struct spool *spool)
{
	i_close_fd(&spool->fd);
	i_free(spool->error);
	if (buffer_get_size(spool->memory) > SPOOL_KEEP_MEMORY) {
		buffer_free(&spool->memory);
		spool->memory = buffer_create_dynamic(default_pool, 4096);
	}
	buffer_set_used_size(spool->memory, 0);
	spool->size = spool->lf_count = spool->crlf_count = 0;
	spool->last_was_cr = spool->finished = FALSE;
	spool_digest_init(spool->digest);
}

static int spool_fail(struct spool *spool, const char *what)
{
	if (spool->error == NULL) {
		spool->error = i_strdup_printf(
			"temporary file %s*: %s failed: %s",
			spool->temp_prefix, what, strerror(errno));
	}
	return -1;
}

static int spool_to_file(struct spool *spool)
{
	string_t *path = t_str_new(128);

	str_append(path, spool->temp_prefix);
	spool->fd = safe_mkstemp(path, 0600, (uid_t)-1, (gid_t)-1);
	if (spool->fd == -1)
		return spool_fail(spool, "safe_mkstemp()");
	/* nobody needs its name, and it is gone whatever kills us */
	if (unlink(str_c(path)) < 0)
		return spool_fail(spool, "unlink()");
	return 0;
}

static int spool_write_out(struct spool *spool)
{
	if (spool->fd == -1 && spool_to_file(spool) < 0)
		return -1;
	if (write_full(spool->fd, spool->memory->data,
		       spool->memory->used) < 0)
		return spool_fail(spool, "write()");
	buffer_set_used_size(spool->memory, 0);
	return 0;
}

static void
spool_digest(struct spool *spool, const void *data, size_t size)
{
	if (size > 0 && EVP_DigestUpdate(spool->digest, data, size) != 1)
		i_panic("EVP_DigestUpdate() failed");
}

/* Count line ends and hash the bytes as if each of them were CRLF. */
static void
spool_scan(struct spool *spool, const unsigned char *data, size_t size)
{
	const unsigned char *end = data + size, *start = data, *p = data;

	while ((p = memchr(p, '\n', end - p)) != NULL) {
		bool crlf = p == data ? spool->last_was_cr : p[-1] == '\r';

		spool->lf_count++;
		if (crlf)
			spool->crlf_count++;
		else {
			spool_digest(spool, start, p - start);
			spool_digest(spool, "\r", 1);
			start = p;
		}
		p++;
	}
	spool_digest(spool, start, end - start);
	spool->last_was_cr = end[-1] == '\r';
}

int spool_append(struct spool *spool, const unsigned char *data, size_t size)
{
	i_assert(!spool->finished);

	if (spool->error != NULL)
		return -1;
	if (size == 0)
		return 0;
	spool_scan(spool, data, size);
	spool->size += size;
	buffer_append(spool->memory, data, size);
	if (spool->memory->used <= SPOOL_MEMORY_MAX)
		return 0;
	return spool_write_out(spool);
}

int spool_finish(struct spool *spool)
{
	i_assert(!spool->finished);

	if (spool->error != NULL)
		return -1;
	if (spool->fd != -1 && spool_write_out(spool) < 0)
		return -1;
	if (EVP_DigestFinal_ex(spool->digest, spool->hash, NULL) != 1)
		i_panic("EVP_DigestFinal_ex() failed");
	spool->finished = TRUE;
	return 0;
}

const char *spool_get_error(struct spool *spool)
{
	return spool->error;
}

uoff_t spool_size(const struct spool *spool)
{
	return spool->size;
}

uoff_t spool_lf_size(const struct spool *spool)
{
	return spool->size - spool->crlf_count;
}

uoff_t spool_crlf_size(const struct spool *spool)
{
	return spool->size - spool->crlf_count + spool->lf_count;
}

const unsigned char *spool_hash(const struct spool *spool)
{
	i_assert(spool->finished);
	return spool->hash;
}

struct istream *spool_get_stream(struct spool *spool)
{
	struct istream *input;

	i_assert(spool->finished);
	if (spool->fd == -1) {
		return i_stream_create_from_data(spool->memory->data,
						 spool->memory->used);
	}
	/* reads by pread(2): each stream has its own offset */
	input = i_stream_create_fd(spool->fd, IO_BLOCK_SIZE);
	i_stream_set_init_buffer_size(input, IO_BLOCK_SIZE);
	i_stream_seek(input, 0);
	return input;
}
