/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "istream-concat.h"
#include "smtp-address.h"
#include "index-mail.h"
#include "raw-storage.h"
#include "mail-deliver.h"
#include "dovecot-compat.h"
#include "core/trace-header.h"
#include "lmtp-source.h"

/* how far into a message our header is looked for */
#define FIND_MAX_SIZE (64*1024)

/* The delivery that goes on: lmtp does one at a time. */
static const struct trace_header *source_header = NULL;
static const struct smtp_address *source_rcpt = NULL;
/* the message without our header */
static struct istream *source_input = NULL;

static MODULE_CONTEXT_DEFINE_INIT(lmtp_source_mail_module,
				  &mail_module_register);
#define SOURCE_MAIL_CONTEXT(obj) \
	MODULE_CONTEXT_REQUIRE(obj, lmtp_source_mail_module)

/*
 * Finding the header
 */

/* One header field of a message: where it begins in data, and its size with
   the lines that continue it. */
struct field {
	const unsigned char *data;
	size_t size, name_len;
};

/* Returns FALSE at the end of the header, or of what data holds. */
static bool
field_next(const unsigned char *data, size_t size, struct field *field_r)
{
	const unsigned char *p = data, *end = data + size, *colon;

	if (size == 0 || *data == '\n' || *data == '\r')
		return FALSE;
	do {
		p = memchr(p, '\n', end - p);
		if (p == NULL || ++p == end)
			return FALSE;
	} while (*p == ' ' || *p == '\t');
	colon = memchr(data, ':', p - data);
	field_r->data = data;
	field_r->size = p - data;
	field_r->name_len = colon == NULL ? 0 : colon - data;
	return TRUE;
}

static bool field_is(const struct field *field, const char *name)
{
	size_t len = strlen(name);

	return field->name_len == len &&
		strncasecmp((const char *)field->data, name, len) == 0;
}

/* What our own LMTP server puts on top of every message, each once. */
static bool lmtp_adds_field(const struct field *field, unsigned int *seen)
{
	static const char *const names[] = {
		"Return-Path", "Delivered-To", "Received"
	};
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(names); i++) {
		if (field_is(field, names[i]) && (*seen & BIT(i)) == 0) {
			*seen |= BIT(i);
			return TRUE;
		}
	}
	return FALSE;
}

static const char *field_value(const struct field *field)
{
	const unsigned char *begin = field->data + field->name_len + 1;
	size_t len = field->size - (field->name_len + 1);

	if (len > 0 && begin[len - 1] == '\n')
		len--;
	if (len > 0 && begin[len - 1] == '\r')
		len--;
	return t_strndup(begin, len);
}

/* 1 = found, 0 = there is none, -1 = the header is longer than data */
static int
place_find(const unsigned char *data, size_t size, struct lmtp_place *place_r)
{
	const unsigned char *p = data, *end = data + size;
	struct field field;
	unsigned int seen = 0;

	i_zero(place_r);
	while (field_next(p, end - p, &field)) {
		if (field_is(&field, TRACE_HEADER_NAME)) {
			place_r->start = p - data;
			place_r->end = place_r->start + field.size;
			place_r->value = field_value(&field);
			return 1;
		}
		if (!lmtp_adds_field(&field, &seen))
			place_r->others_above = TRUE;
		p += field.size;
	}
	return p < end && (*p == '\n' || *p == '\r') ? 0 : -1;
}

static bool mail_is_raw(struct mail *mail)
{
	return strcmp(mail->box->storage->name, RAW_STORAGE_NAME) == 0;
}

bool lmtp_source_find(struct mail *mail, struct lmtp_place *place_r)
{
	const unsigned char *data;
	struct istream *input;
	size_t size = 0;
	int ret = -1;

	/* A mail that was stored already (for another recipient of the same
	   transaction) does not come fresh from LMTP. */
	if (!mail_is_raw(mail))
		return FALSE;
	input = mail->box->input;
	i_stream_seek(input, 0);
	/* mostly all of the header comes with the first read */
	while (ret < 0 && size < FIND_MAX_SIZE &&
	       i_stream_read_bytes(input, &data, &size, size + 1) > 0)
		ret = place_find(data, size, place_r);
	i_stream_seek(input, 0);
	return ret > 0;
}

/*
 * The mail that scripts see
 */

static enum mail_flags source_get_flags(struct mail *mail)
{
	union mail_module_context *ctx =
		SOURCE_MAIL_CONTEXT((struct mail_private *)mail);

	return source_header != NULL ? source_header->flags :
		ctx->super.get_flags(mail);
}

static const char *const *source_get_keywords(struct mail *mail)
{
	union mail_module_context *ctx =
		SOURCE_MAIL_CONTEXT((struct mail_private *)mail);

	return source_header != NULL ? source_header->keywords :
		ctx->super.get_keywords(mail);
}

static int source_get_received_date(struct mail *mail, time_t *date_r)
{
	union mail_module_context *ctx =
		SOURCE_MAIL_CONTEXT((struct mail_private *)mail);

	if (source_header == NULL)
		return ctx->super.get_received_date(mail, date_r);
	*date_r = source_header->received_time;
	return 0;
}

/* Headers that make Sieve's actions hold their tongue, for history: they are
   in no message, only in the answers to those who decide whether to send. The
   spelling tells those from a script's own header tests, mostly. */
static const char *quiet_header(const char *field)
{
	if (source_header == NULL || !source_header->nofx)
		return NULL;
	/* vacation */
	if (strcmp(field, "x-auto-response-suppress") == 0)
		return "All";
	/* notify, in both its forms */
	if (strcmp(field, "auto-submitted") == 0)
		return "auto-generated";
	/* redirect: what looks like a loop is kept */
	if (strcmp(field, "x-sieve-redirected-from") == 0)
		return smtp_address_encode(source_rcpt);
	return NULL;
}

static int
source_get_headers(struct mail *mail, const char *field, bool decode_to_utf8,
		   const char *const **value_r)
{
	struct mail_private *p = (struct mail_private *)mail;
	union mail_module_context *ctx = SOURCE_MAIL_CONTEXT(p);
	const char *quiet = quiet_header(field);
	const char **values;

	if (quiet == NULL) {
		return ctx->super.get_headers(mail, field, decode_to_utf8,
					      value_r);
	}
	values = p_new(p->data_pool, const char *, 2);
	values[0] = p_strdup(p->data_pool, quiet);
	*value_r = values;
	return 1;
}

static int
source_get_first_header(struct mail *mail, const char *field,
			bool decode_to_utf8, const char **value_r)
{
	union mail_module_context *ctx =
		SOURCE_MAIL_CONTEXT((struct mail_private *)mail);

	/* reject asks this way, nobody else does */
	if (source_header != NULL && source_header->nofx &&
	    strcmp(field, "Auto-Submitted") == 0) {
		*value_r = "auto-generated";
		return 1;
	}
	return ctx->super.get_first_header(mail, field, decode_to_utf8,
					   value_r);
}

static void source_mail_override(struct mail_private *p, struct mail_vfuncs *v,
				 union mail_module_context *ctx)
{
	ctx->super = *v;
	v->get_flags = source_get_flags;
	v->get_keywords = source_get_keywords;
	v->get_received_date = source_get_received_date;
	v->get_headers = source_get_headers;
	v->get_first_header = source_get_first_header;
	MODULE_CONTEXT_SET_SELF(p, lmtp_source_mail_module, ctx);
}

void lmtp_source_mail_allocated(struct mail *mail)
{
	struct mail_private *p = (struct mail_private *)mail;
	struct mail_vfuncs *v = p->vlast;
	union mail_module_context *ctx;

	if (source_header == NULL || !mail_is_raw(mail))
		return;
	ctx = p_new(p->pool, union mail_module_context, 1);
	p->vlast = &ctx->super;
	source_mail_override(p, v, ctx);
}

/*
 * The stripped mail
 */

static int
source_get_stream(struct mail *_mail, bool get_body ATTR_UNUSED,
		  struct message_size *hdr_size,
		  struct message_size *body_size, struct istream **stream_r)
{
	struct index_mail *mail = INDEX_MAIL(_mail);

	if (mail->data.stream == NULL) {
		if (!mail_stream_access_start(_mail))
			return -1;
		/* freed when the mail is closed */
		mail->data.stream =
			i_stream_create_limit(source_input, UOFF_T_MAX);
	}
	return index_mail_init_stream(mail, hdr_size, body_size, stream_r);
}

static int source_get_physical_size(struct mail *mail, uoff_t *size_r)
{
	if (i_stream_get_size(source_input, TRUE, size_r) > 0)
		return 0;
	mail_set_critical(mail, "i_stream_get_size(%s) failed: %s",
			  i_stream_get_name(source_input),
			  i_stream_get_error(source_input));
	return -1;
}

static void source_mail_strip(struct mail *mail)
{
	struct mail_private *p = (struct mail_private *)mail;

	/* The raw user of an lmtp process's first client is older than our
	   hooks. */
	if (MODULE_CONTEXT(p, lmtp_source_mail_module) == NULL) {
		source_mail_override(p, &p->v,
			p_new(p->pool, union mail_module_context, 1));
	}
	p->v.get_stream = source_get_stream;
	p->v.get_physical_size = source_get_physical_size;
}

/*
 * Replacing
 */

static struct istream *
source_strip(struct istream *input, const struct lmtp_place *place,
	     bool keep_above)
{
	struct istream *inputs[3], *stripped;
	const unsigned char *data;
	size_t size;

	stripped = i_stream_create_range(input, place->end, UOFF_T_MAX);
	if (!keep_above)
		return stripped;

	i_stream_seek(input, 0);
	if (i_stream_read_bytes(input, &data, &size, place->start) <= 0) {
		/* it was there a moment ago */
		return stripped;
	}
	inputs[0] = i_stream_create_copy_from_data(data, place->start);
	inputs[1] = stripped;
	inputs[2] = NULL;
	stripped = i_stream_create_concat(inputs);
	i_stream_set_name(stripped, i_stream_get_name(input));
	i_stream_unref(&inputs[0]);
	i_stream_unref(&inputs[1]);
	return stripped;
}

void lmtp_source_replace(struct lmtp_source *source,
			 struct mail_deliver_context *ctx,
			 const struct lmtp_place *place,
			 const struct trace_header *header)
{
	struct mailbox *box = ctx->src_mail->box;
	struct mailbox_transaction_context *trans;

	i_assert(source_input == NULL);

	source_header = header;
	source_rcpt = ctx->rcpt_to;
	source_input = source_strip(box->input, place,
				    header == NULL || place->others_above);
	/* A second mail in LMTP's raw mailbox, which is much cheaper than a
	   second mailbox. Its own transaction keeps what was cached of the
	   first away from it. */
	trans = mailbox_transaction_begin(box, 0, __func__);
	source->mail = mail_alloc(trans, 0, NULL);
	source_mail_strip(source->mail);
	mail_set_seq(source->mail, 1);
	source->ctx = ctx;
	source->orig_mail = ctx->src_mail;
	ctx->src_mail = source->mail;
}

void lmtp_source_restore(struct lmtp_source *source)
{
	struct mailbox_transaction_context *trans = source->mail->transaction;

	source->ctx->src_mail = source->orig_mail;
	mail_free(&source->mail);
	mailbox_transaction_rollback(&trans);
	i_stream_unref(&source_input);
	source_header = NULL;
	source_rcpt = NULL;
}
