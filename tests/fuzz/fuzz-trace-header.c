/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "hex-binary.h"
#include "sha2.h"
#include "hmac.h"
#include "mail-types.h"
#include "core/trace-header.h"
#include "fuzz.h"

static const unsigned char key[TRACE_HEADER_KEY_SIZE] =
	"0123456789abcdef0123456789abcdef";

static const char *sign(const char *value)
{
	buffer_t *mac = t_hmac_str(&hash_method_sha256, key, sizeof(key),
				   value);

	return t_strdup_printf("%s; mac=%s", value,
			       binary_to_hex(mac->data, mac->used));
}

static int
read_value(pool_t pool, const char *value, struct trace_header *header_r)
{
	const char *error = NULL;

	if (trace_header_read(pool, value, "anna", key, header_r,
			      &error) == 0)
		return 0;
	i_assert(error != NULL);
	return -1;
}

static const char *write_value(const struct trace_header *header)
{
	const char *error, *line = trace_header_write(header, key, &error);

	i_assert(line != NULL);
	return line + strlen(TRACE_HEADER_NAME": ");
}

/* As it is, nothing forged may pass; with a right signature, what is read is
   written and read again alike. */
static void fuzz_trace_header(pool_t pool, const char *text)
{
	struct trace_header header;
	const char *value, *mac = strstr(text, "; mac=");

	if (read_value(pool, text, &header) == 0)
		i_assert(mac != NULL);
	value = sign(t_strdup_until(text, mac == NULL ? text + strlen(text) :
				    mac));
	if (read_value(pool, value, &header) < 0)
		return;
	value = write_value(&header);
	if (read_value(pool, value, &header) < 0)
		i_panic("not read again: %s", value);
	i_assert(strcmp(write_value(&header), value) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		pool_t pool = pool_allocfree_create("fuzz trace header");

		fuzz_trace_header(pool, fuzz_text(data, size));
		pool_unref(&pool);
	} T_END;
	return 0;
}
