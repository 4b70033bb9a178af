#ifndef IMAPSYNC_KEY_FILE_H
#define IMAPSYNC_KEY_FILE_H

struct secret_ring;

/* bytes of the header key */
#define KEY_FILE_HEADER_KEY_SIZE 32

/* The two key files of the service: made at first use, never overwritten.

   The master key file seals what the accounts know (secret.h). One key a line,
   "<id> <64 hex digits>"; the last line seals, all of them open. Lines that are
   empty or start with '#' are skipped.

   The header key file signs what is handed to lmtp (core/trace-header.h). One
   line of 64 hex digits. It opens nothing. */

/* Make the file with one random key unless it exists. Written, synced and only
   then given its name: a crash never leaves half a key. Call as the service
   user. Returns 1 if it was made, 0 if it exists, -1 and error_r. */
int key_file_create_master(const char *path, const char **error_r);
int key_file_create_header(const char *path, const char **error_r);

/* Read the sealing keys into ring. The file must belong to this process's user
   or root, and nobody else may read or write it. Returns 0, or -1 and error_r,
   which names the file, what is wrong and what to do; a missing, empty,
   truncated or unsafe file is an error. */
int key_file_read_master(const char *path, struct secret_ring *ring,
			 const char **error_r);

/* Read the header key. The group may read it, so that an lmtp which does not
   run as root can; nobody else may read, only the owner may write. Any owner
   is accepted: the reader may be another user than the writer. Returns 0, or
   -1 and error_r as above, with key_r all zero. */
int key_file_read_header(const char *path,
			 unsigned char key_r[KEY_FILE_HEADER_KEY_SIZE],
			 const char **error_r);

#endif
