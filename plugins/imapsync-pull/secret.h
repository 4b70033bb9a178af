#ifndef IMAPSYNC_SECRET_H
#define IMAPSYNC_SECRET_H

/* Sealing of what must not be read in a database or a backup: AES-256-GCM
   (NIST SP 800-38D) under a key that HKDF-SHA256 (RFC 5869) derives from one of
   the master keys. Who it belongs to is authenticated with it, so that a
   sealed secret cannot be moved to another user, account or field. */

/* bytes of a master key */
#define SECRET_KEY_SIZE 32
/* longest key id: letters, digits, '-' and '_' */
#define SECRET_KEY_ID_MAX 16
/* longest secret that is sealed */
#define SECRET_MAX_SIZE (16*1024)

/* what a sealed secret belongs to */
struct secret_owner {
	const char *user, *account;
	/* "password" */
	const char *field;
};

/* The master keys. The one added last seals; all of them open. */
struct secret_ring *secret_ring_init(void);
void secret_ring_deinit(struct secret_ring **ring);
/* Returns 0, or -1 and error_r: the id is not one or is there already. */
int secret_ring_add(struct secret_ring *ring, const char *id,
		    const unsigned char key[SECRET_KEY_SIZE],
		    const char **error_r);
/* id of the key that seals; NULL while the ring is empty */
const char *secret_ring_current(const struct secret_ring *ring);

/* Seal secret. The text, "v1:<key id>:<base64>", is allocated from pool and
   holds nothing to hide. Returns 0, or -1 and error_r. */
int secret_seal(pool_t pool, const struct secret_ring *ring,
		const struct secret_owner *owner, const char *secret,
		const char **sealed_r, const char **error_r);

/* Open what secret_seal() wrote. The secret is allocated from pool, which
   should be one that is wiped when it is freed
   (pool_alloconly_create_clean()). Returns 0, or -1 and error_r, which says
   whether the text is malformed, its key is not there, or it was changed or
   belongs to somebody else. */
int secret_open(pool_t pool, const struct secret_ring *ring,
		const struct secret_owner *owner, const char *sealed,
		const char **secret_r, const char **error_r);

#endif
