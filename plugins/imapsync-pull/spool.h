#ifndef IMAPSYNC_SPOOL_H
#define IMAPSYNC_SPOOL_H

/* One message on its way from the remote server to the local side: in memory
   while it is small, in an unlinked temporary file beyond that, so that memory
   stays constant whatever the server sends and a sink always gets messages
   that are complete. While it is written it is counted and hashed. */

/* larger messages go to a file */
#define SPOOL_MEMORY_MAX (128*1024)
#define SPOOL_HASH_SIZE 16

struct spool;

/* temp_prefix: path prefix of the temporary file (mail_user's). */
struct spool *spool_create(const char *temp_prefix);
void spool_unref(struct spool **spool);
void spool_ref(struct spool *spool);
/* Forget the content, keep the memory. */
void spool_reset(struct spool *spool);

/* Returns 0, or -1 when the temporary file cannot be written
   (spool_get_error()). */
int spool_append(struct spool *spool, const unsigned char *data, size_t size);
int spool_finish(struct spool *spool);
const char *spool_get_error(struct spool *spool);

/* Bytes as received. */
uoff_t spool_size(const struct spool *spool);
/* Bytes with every line end as LF, and as CRLF (Maildir's S= and W=). */
uoff_t spool_lf_size(const struct spool *spool);
uoff_t spool_crlf_size(const struct spool *spool);
/* First bytes of the SHA-256 over the message with CRLF line ends: the
   content's identity. Valid after spool_finish(). */
const unsigned char *spool_hash(const struct spool *spool);

/* A new seekable stream over the bytes as received; the spool must outlive
   it. */
struct istream *spool_get_stream(struct spool *spool);

#endif
