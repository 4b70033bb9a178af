/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "wildcard-match.h"
#include "dovecot-compat.h"
#include "core/imap-show.h"

#define RETRY_FIRST_MSECS 500
#define RETRY_DOUBLINGS 6
/* longer names are nobody's */
#define CLIENT_NAME_MAX 128

enum client_identity {
	/* has said neither ID nor anything else that matters */
	CLIENT_UNKNOWN,
	CLIENT_SHOWN_TO,
	CLIENT_SKIPPED
};

struct notice {
	char *id, *text;
	enum feed_channel channel;
	bool shown;
};

struct imap_show {
	const struct imap_show_settings *set;
	/* oldest first */
	ARRAY(struct notice) notices;
	enum client_identity client;
};

static const char *const mode_names[] = { "no", "login", "idle", "always" };
static const char *const hibernate_names[] = { "yes", "pending", "no" };

/* What clients say before they say who they are. */
static const char *const preliminary_commands[] = {
	"CAPABILITY", "ENABLE", "NAMESPACE", "COMPRESS", NULL
};

static int
word_parse(const char *value, const char *const *words, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (strcmp(words[i], value) == 0)
			return i;
	}
	return -1;
}

int imap_show_mode_parse(const char *value, enum imap_show_mode *mode_r)
{
	int ret = word_parse(value, mode_names, N_ELEMENTS(mode_names));

	*mode_r = ret < 0 ? IMAP_SHOW_NO : (enum imap_show_mode)ret;
	return ret < 0 ? -1 : 0;
}

int imap_show_hibernate_parse(const char *value,
			      enum imap_show_hibernate *hibernate_r)
{
	int ret = word_parse(value, hibernate_names,
			     N_ELEMENTS(hibernate_names));

	*hibernate_r = ret < 0 ? IMAP_SHOW_HIBERNATE_YES :
		(enum imap_show_hibernate)ret;
	return ret < 0 ? -1 : 0;
}

bool imap_show_is_wanted(const struct imap_show_settings *set, bool secured)
{
	return set->mode != IMAP_SHOW_NO && (secured || set->cleartext);
}

struct imap_show *imap_show_init(const struct imap_show_settings *set)
{
	struct imap_show *show = i_new(struct imap_show, 1);

	show->set = set;
	i_array_init(&show->notices, 4);
	/* if it does not matter who it is, nobody waits for it */
	show->client = set->skip_clients == NULL ||
		set->skip_clients[0] == NULL ? CLIENT_SHOWN_TO : CLIENT_UNKNOWN;
	return show;
}

static void notice_delete(struct imap_show *show, struct notice *notice)
{
	unsigned int idx = array_ptr_to_idx(&show->notices, notice);

	i_free(notice->id);
	i_free(notice->text);
	array_delete(&show->notices, idx, 1);
}

void imap_show_deinit(struct imap_show **_show)
{
	struct imap_show *show = *_show;

	*_show = NULL;
	while (array_count(&show->notices) > 0)
		notice_delete(show, array_front_modifiable(&show->notices));
	array_free(&show->notices);
	i_free(show);
}

static struct notice *notice_find(struct imap_show *show, const char *id)
{
	struct notice *notice;

	array_foreach_modifiable(&show->notices, notice) {
		if (strcmp(notice->id, id) == 0)
			return notice;
	}
	return NULL;
}

/* Forget the oldest that was shown. Returns FALSE if there is none. */
static bool notices_make_room(struct imap_show *show)
{
	struct notice *notice;

	array_foreach_modifiable(&show->notices, notice) {
		if (notice->shown) {
			notice_delete(show, notice);
			return TRUE;
		}
	}
	return FALSE;
}

bool imap_show_add(struct imap_show *show, enum feed_channel channel,
		   const char *id, const char *text)
{
	struct notice *notice = notice_find(show, id);

	if (notice != NULL)
		return !notice->shown;
	/* it would wait for ever */
	if (channel == FEED_LIVE && show->set->mode < IMAP_SHOW_IDLE)
		return TRUE;
	if (array_count(&show->notices) >= IMAP_SHOW_MAX_NOTICES &&
	    !notices_make_room(show))
		return TRUE;
	notice = array_append_space(&show->notices);
	notice->id = i_strdup(id);
	notice->text = i_strdup(text);
	notice->channel = channel;
	return TRUE;
}

void imap_show_gone(struct imap_show *show, const char *id)
{
	struct notice *notice = notice_find(show, id);

	if (notice != NULL)
		notice_delete(show, notice);
}

void imap_show_forget_waiting(struct imap_show *show)
{
	struct notice *notice;
	unsigned int idx = array_count(&show->notices);

	while (idx-- > 0) {
		notice = array_idx_modifiable(&show->notices, idx);
		if (!notice->shown)
			notice_delete(show, notice);
	}
}

/* Append the quoted string at *pos. Returns FALSE if there is none. */
static bool quoted_parse(const char **pos, string_t *dest)
{
	const char *p = *pos;

	if (*p != '"')
		return FALSE;
	for (p++; *p != '"'; p++) {
		if (*p == '\\')
			p++;
		if (*p == '\0')
			return FALSE;
		str_append_c(dest, *p);
	}
	*pos = p + 1;
	return TRUE;
}

/* Append one value, which may also be an atom, NIL among them. */
static bool value_parse(const char **pos, string_t *dest)
{
	size_t size;

	if (**pos == '"')
		return quoted_parse(pos, dest);
	size = strcspn(*pos, " ()\"{");
	str_append_data(dest, *pos, size);
	*pos += size;
	return size > 0;
}

/* What the client calls itself in ID's arguments, "" = it does not say. */
static const char *client_name(const char *args)
{
	string_t *key = t_str_new(32), *value = t_str_new(64);

	if (*args++ != '(')
		return "";
	for (;;) {
		str_truncate(key, 0);
		str_truncate(value, 0);
		if (!value_parse(&args, key) || *args++ != ' ' ||
		    !value_parse(&args, value))
			return "";
		if (strcasecmp(str_c(key), "name") == 0)
			return str_c(value);
		if (*args++ != ' ')
			return "";
	}
}

static bool
client_is_skipped(const struct imap_show_settings *set, const char *name)
{
	const char *const *pattern;

	/* a long one would keep the matching busy */
	if (strlen(name) > CLIENT_NAME_MAX)
		return FALSE;
	for (pattern = set->skip_clients; *pattern != NULL; pattern++) {
		if (wildcard_match_icase(name, *pattern))
			return TRUE;
	}
	return FALSE;
}

void imap_show_command(struct imap_show *show, const char *name,
		       const char *args)
{
	if (show->set->skip_clients == NULL || show->client == CLIENT_SKIPPED)
		return;
	/* late is better than never */
	if (strcasecmp(name, "ID") == 0) {
		show->client = args != NULL &&
			client_is_skipped(show->set, client_name(args)) ?
			CLIENT_SKIPPED : CLIENT_SHOWN_TO;
	} else if (!str_array_icase_find(preliminary_commands, name)) {
		show->client = CLIENT_SHOWN_TO;
	}
}

void imap_show_id_timeout(struct imap_show *show)
{
	if (show->client == CLIENT_UNKNOWN)
		show->client = CLIENT_SHOWN_TO;
}

bool imap_show_waits_for_id(const struct imap_show *show)
{
	return show->client == CLIENT_UNKNOWN;
}

bool imap_show_is_skipped(const struct imap_show *show)
{
	return show->client == CLIENT_SKIPPED;
}

static bool
notice_is_due(const struct imap_show *show, const struct notice *notice,
	      const struct imap_show_session *session)
{
	if (notice->shown || (!session->settled && !session->idling))
		return FALSE;
	if (notice->channel == FEED_FLASH)
		return show->set->mode != IMAP_SHOW_NO;
	return show->set->mode == IMAP_SHOW_ALWAYS ||
		(show->set->mode == IMAP_SHOW_IDLE && session->idling);
}

enum imap_show_verdict
imap_show_next(struct imap_show *show, const struct imap_show_session *session,
	       struct imap_show_notice *notice_r)
{
	const struct notice *notice;
	bool waiting = FALSE;

	if (show->client == CLIENT_SKIPPED)
		return IMAP_SHOW_NOTHING;
	array_foreach(&show->notices, notice) {
		if (!notice_is_due(show, notice, session)) {
			waiting = waiting || !notice->shown;
			continue;
		}
		if (show->client == CLIENT_UNKNOWN)
			return IMAP_SHOW_WAIT;
		if (session->output_locked)
			return IMAP_SHOW_BLOCKED;
		notice_r->id = notice->id;
		notice_r->text = notice->text;
		return IMAP_SHOW_NOW;
	}
	return waiting ? IMAP_SHOW_WAIT : IMAP_SHOW_NOTHING;
}

void imap_show_done(struct imap_show *show, const char *id)
{
	struct notice *notice = notice_find(show, id);

	if (notice != NULL)
		notice->shown = TRUE;
}

bool imap_show_may_hibernate(const struct imap_show *show)
{
	switch (show->set->hibernate) {
	case IMAP_SHOW_HIBERNATE_YES:
		return TRUE;
	case IMAP_SHOW_HIBERNATE_PENDING:
		return show->client == CLIENT_SKIPPED ||
			array_count(&show->notices) == 0;
	case IMAP_SHOW_HIBERNATE_NO:
		return show->client == CLIENT_SKIPPED;
	}
	i_unreached();
}

unsigned int imap_show_retry_msecs(unsigned int failures, unsigned int random)
{
	unsigned int msecs = RETRY_FIRST_MSECS <<
		I_MIN(failures, RETRY_DOUBLINGS);

	/* from half of it to one and a half */
	return msecs / 2 + random % msecs;
}
