/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "hash.h"
#include "hex-binary.h"
#include "imap-utf7.h"
#include "sha2.h"
#include "unichar.h"
#include "account.h"
#include "redact.h"
#include "folder-map.h"

#include <ctype.h>
#include <regex.h>

#define FOLDER_NAME_MAX 255
#define FOLDER_REGEX_MAX 1024
/* The C library copies what is repeated, and what is repeated in it, again: a
   line of nested groups is gigabytes and minutes. These are the groups, how
   often single characters are repeated together, and groups in groups. */
#define FOLDER_REGEX_MAX_GROUPS 20
#define FOLDER_REGEX_MAX_TIMES 100
#define FOLDER_REGEX_MAX_GROUP_TIMES 16
#define FOLDER_SUFFIX_DIGITS 8

#define FOLDER_SPECIAL_VIRTUAL \
	(FOLDER_SPECIAL_ALL | FOLDER_SPECIAL_FLAGGED | FOLDER_SPECIAL_IMPORTANT)

/* Who keeps a local name that several want; lower wins. */
enum folder_claim {
	FOLDER_CLAIM_INBOX,
	FOLDER_CLAIM_NAMED,
	FOLDER_CLAIM_SAME,
	FOLDER_CLAIM_CHANGED,
};

/* One listed folder at work */
struct folder_work {
	struct folder_mapped *mapped;
	/* UTF-8 name; INBOX as first level is in capitals */
	char *name;
	/* its levels; NULL = the name cannot be mapped */
	const char *const *levels;
	unsigned int level_count;
	enum folder_claim claim;
	/* the one \Special stands for */
	bool primary;
};

struct folder_mask {
	const char *text;
	/* \Special, if not none */
	enum folder_special_use special_use;
	bool regex;
	regex_t compiled;
};

/* Not an array.h one, which would move a regex_t. */
struct folder_masks {
	struct folder_mask *masks;
	unsigned int count;
};

struct folder_map {
	pool_t pool;
	const struct account *account;
	const struct folder_local *local;
	struct folder_work *work;
	unsigned int count;
	/* everything is below INBOX */
	bool below_inbox;
	/* with local separators, or NULL */
	const char *subfolder;
	struct folder_masks folders, exclude;
};

static const struct {
	enum folder_special_use use;
	const char *attribute;
} folder_special_uses[] = {
	{ FOLDER_SPECIAL_ALL, "\\All" },
	{ FOLDER_SPECIAL_ARCHIVE, "\\Archive" },
	{ FOLDER_SPECIAL_DRAFTS, "\\Drafts" },
	{ FOLDER_SPECIAL_FLAGGED, "\\Flagged" },
	{ FOLDER_SPECIAL_JUNK, "\\Junk" },
	{ FOLDER_SPECIAL_SENT, "\\Sent" },
	{ FOLDER_SPECIAL_TRASH, "\\Trash" },
	{ FOLDER_SPECIAL_IMPORTANT, "\\Important" },
};

/* What servers and clients call them, at top level or below INBOX or Gmail's
   folder. The best of each kind first. */
static const struct {
	enum folder_special_use use;
	const char *name;
} folder_known_names[] = {
	{ FOLDER_SPECIAL_SENT, "Sent" },
	{ FOLDER_SPECIAL_SENT, "Sent Items" },
	{ FOLDER_SPECIAL_SENT, "Sent Messages" },
	{ FOLDER_SPECIAL_SENT, "Sent Mail" },
	{ FOLDER_SPECIAL_SENT, "Sent-Mail" },
	{ FOLDER_SPECIAL_SENT, "Sent Objects" },
	{ FOLDER_SPECIAL_SENT, "Gesendet" },
	{ FOLDER_SPECIAL_SENT, "Gesendete Objekte" },
	{ FOLDER_SPECIAL_SENT, "Gesendete Elemente" },
	{ FOLDER_SPECIAL_SENT, "Posta inviata" },
	{ FOLDER_SPECIAL_SENT, "Inviati" },
	{ FOLDER_SPECIAL_SENT, "Envoyés" },
	{ FOLDER_SPECIAL_SENT, "Messages envoyés" },
	{ FOLDER_SPECIAL_SENT, "Éléments envoyés" },
	{ FOLDER_SPECIAL_SENT, "Enviados" },
	{ FOLDER_SPECIAL_SENT, "Elementos enviados" },
	{ FOLDER_SPECIAL_SENT, "Verzonden" },
	{ FOLDER_SPECIAL_SENT, "Verzonden items" },
	{ FOLDER_SPECIAL_SENT, "Wysłane" },
	{ FOLDER_SPECIAL_SENT, "Skickat" },
	{ FOLDER_SPECIAL_SENT, "Отправленные" },
	{ FOLDER_SPECIAL_DRAFTS, "Drafts" },
	{ FOLDER_SPECIAL_DRAFTS, "Draft" },
	{ FOLDER_SPECIAL_DRAFTS, "Entwürfe" },
	{ FOLDER_SPECIAL_DRAFTS, "Bozze" },
	{ FOLDER_SPECIAL_DRAFTS, "Brouillons" },
	{ FOLDER_SPECIAL_DRAFTS, "Borradores" },
	{ FOLDER_SPECIAL_DRAFTS, "Concepten" },
	{ FOLDER_SPECIAL_DRAFTS, "Szkice" },
	{ FOLDER_SPECIAL_DRAFTS, "Черновики" },
	{ FOLDER_SPECIAL_JUNK, "Junk" },
	{ FOLDER_SPECIAL_JUNK, "Spam" },
	{ FOLDER_SPECIAL_JUNK, "Junk E-mail" },
	{ FOLDER_SPECIAL_JUNK, "Junk Email" },
	{ FOLDER_SPECIAL_JUNK, "Junk Mail" },
	{ FOLDER_SPECIAL_JUNK, "Bulk Mail" },
	{ FOLDER_SPECIAL_JUNK, "Spamverdacht" },
	{ FOLDER_SPECIAL_JUNK, "Posta indesiderata" },
	{ FOLDER_SPECIAL_JUNK, "Courrier indésirable" },
	{ FOLDER_SPECIAL_JUNK, "Correo no deseado" },
	{ FOLDER_SPECIAL_JUNK, "Спам" },
	{ FOLDER_SPECIAL_TRASH, "Trash" },
	{ FOLDER_SPECIAL_TRASH, "Deleted Items" },
	{ FOLDER_SPECIAL_TRASH, "Deleted Messages" },
	{ FOLDER_SPECIAL_TRASH, "Deleted" },
	{ FOLDER_SPECIAL_TRASH, "Bin" },
	{ FOLDER_SPECIAL_TRASH, "Papierkorb" },
	{ FOLDER_SPECIAL_TRASH, "Gelöschte Objekte" },
	{ FOLDER_SPECIAL_TRASH, "Gelöschte Elemente" },
	{ FOLDER_SPECIAL_TRASH, "Cestino" },
	{ FOLDER_SPECIAL_TRASH, "Corbeille" },
	{ FOLDER_SPECIAL_TRASH, "Papelera" },
	{ FOLDER_SPECIAL_TRASH, "Prullenbak" },
	{ FOLDER_SPECIAL_TRASH, "Kosz" },
	{ FOLDER_SPECIAL_TRASH, "Корзина" },
	{ FOLDER_SPECIAL_ARCHIVE, "Archive" },
	{ FOLDER_SPECIAL_ARCHIVE, "Archives" },
	{ FOLDER_SPECIAL_ARCHIVE, "Archiv" },
	{ FOLDER_SPECIAL_ARCHIVE, "Archivio" },
};

enum folder_special_use folder_special_use_parse(const char *attribute)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(folder_special_uses); i++) {
		if (strcasecmp(folder_special_uses[i].attribute,
			       attribute) == 0)
			return folder_special_uses[i].use;
	}
	return FOLDER_SPECIAL_NONE;
}

const char *folder_special_use_name(enum folder_special_use use)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(folder_special_uses); i++) {
		if ((folder_special_uses[i].use & use) != 0)
			return folder_special_uses[i].attribute;
	}
	return "";
}

bool folder_special_use_is_filed(enum folder_special_use use)
{
	return (use & (FOLDER_SPECIAL_SENT | FOLDER_SPECIAL_DRAFTS |
		       FOLDER_SPECIAL_JUNK | FOLDER_SPECIAL_TRASH)) != 0;
}

/*
 * Names: what the server wrote -> levels of UTF-8
 */

static bool folder_has_control(const char *name)
{
	unichar_t chr;
	int len;

	for (; *name != '\0'; name += len) {
		len = uni_utf8_get_char(name, &chr);
		if (len <= 0 || chr < 0x20 || (chr >= 0x7f && chr < 0xa0))
			return TRUE;
	}
	return FALSE;
}

/* Two spellings of one name must not pass for two folders, so only the
   canonical one is taken. The decoder alone lets some others through, and
   bytes that modified UTF-7 does not have. */
static bool folder_decode_utf7(const char *remote_name, const char **name_r)
{
	string_t *utf8 = t_str_new(64), *again = t_str_new(64);

	if (imap_utf7_to_utf8(remote_name, utf8) < 0 ||
	    imap_utf8_to_utf7(str_c(utf8), again) < 0 ||
	    strcmp(str_c(again), remote_name) != 0)
		return FALSE;
	*name_r = str_c(utf8);
	return TRUE;
}

/* Returns NULL, or why the name cannot be used. */
static const char *
folder_decode(const struct folder_listed *listed, const char **name_r)
{
	if (*listed->remote_name == '\0')
		return "name is empty";
	if (strlen(listed->remote_name) > FOLDER_REMOTE_NAME_MAX)
		return "name is too long";
	if (listed->utf8)
		*name_r = listed->remote_name;
	else if (!folder_decode_utf7(listed->remote_name, name_r))
		return "name is not valid modified UTF-7";
	if (folder_has_control(*name_r))
		return "name has control characters or is not UTF-8";
	if (**name_r == '~' || **name_r == '/')
		return "name begins with '~' or '/'";
	return NULL;
}

/* A separator that could be part of a word, a wildcard or an encoded character
   makes no hierarchy. */
static bool folder_separator_is_usable(char separator)
{
	return separator == '\0' ||
		(i_ispunct(separator) && strchr("&*%\"", separator) == NULL);
}

static bool folder_level_is_safe(const char *level)
{
	return *level != '\0' && strcmp(level, ".") != 0 &&
		strcmp(level, "..") != 0;
}

/* Split at any of the separators. Returns FALSE if a level is empty, "." or
   "..". */
static bool
folder_split(pool_t pool, const char *name, const char *separators,
	     const char *const **levels_r, unsigned int *count_r)
{
	const char *const *level;

	*levels_r = (const char *const *)p_strsplit(pool, name, separators);
	*count_r = str_array_length(*levels_r);
	for (level = *levels_r; *level != NULL; level++) {
		if (!folder_level_is_safe(*level))
			return FALSE;
	}
	return *count_r > 0;
}

/* "inbox.x" is the same as "INBOX.x" (RFC 3501, 5.1) */
static char *
folder_name_with_inbox(pool_t pool, const char *name, char separator)
{
	if (strncasecmp(name, "INBOX", 5) == 0 &&
	    (name[5] == '\0' || (separator != '\0' && name[5] == separator)))
		return p_strconcat(pool, "INBOX", name + 5, NULL);
	return p_strdup(pool, name);
}

static const char *
folder_read_name(struct folder_map *map, struct folder_work *work)
{
	const struct folder_listed *listed = work->mapped->listed;
	/* a flat name is split at what it cannot have */
	const char separators[] = {
		listed->separator == '\0' ? '\001' : listed->separator, '\0'
	};
	const char *const *levels, *name, *error;

	error = folder_decode(listed, &name);
	if (error != NULL)
		return error;
	if (!folder_separator_is_usable(listed->separator))
		return "unusual hierarchy separator";
	work->name = folder_name_with_inbox(map->pool, name,
					    listed->separator);
	if (!folder_split(map->pool, work->name, separators,
			  &levels, &work->level_count))
		return "name has an empty level, \".\" or \"..\"";
	work->levels = levels;
	work->mapped->inbox = strcmp(work->name, "INBOX") == 0;
	return NULL;
}

/* A name listed twice is one folder: the second entry must not get a state of
   its own. INBOX and inbox are twice the same. */
static void folder_read_names(struct folder_map *map)
{
	HASH_TABLE(char *, struct folder_work *) seen;
	unsigned int i;

	hash_table_create(&seen, default_pool, map->count, str_hash, strcmp);
	for (i = 0; i < map->count; i++) T_BEGIN {
		struct folder_work *work = &map->work[i];

		work->mapped->reason = folder_read_name(map, work);
		if (work->levels == NULL)
			;
		else if (hash_table_lookup(seen, work->name) != NULL) {
			work->levels = NULL;
			work->mapped->inbox = FALSE;
			work->mapped->reason = "name is listed twice";
		} else {
			hash_table_insert(seen, work->name, work);
		}
	} T_END;
	hash_table_destroy(&seen);
}

static bool folder_is_open(const struct folder_work *work)
{
	return work->levels != NULL && !work->mapped->listed->noselect &&
		!work->mapped->listed->nonexistent;
}

static bool folder_all_below_inbox(const struct folder_map *map)
{
	unsigned int i, below = 0;

	for (i = 0; i < map->count; i++) {
		const struct folder_work *work = &map->work[i];

		if (work->levels == NULL || work->mapped->inbox)
			continue;
		if (strcmp(work->levels[0], "INBOX") != 0)
			return FALSE;
		below++;
	}
	return below > 0;
}

/*
 * Special use
 */

static const char *folder_known_level(const struct folder_work *work)
{
	const char *const *levels = work->levels;

	if (work->level_count == 1)
		return levels[0];
	if (work->level_count == 2 &&
	    (strcmp(levels[0], "INBOX") == 0 ||
	     strcmp(levels[0], "[Gmail]") == 0 ||
	     strcmp(levels[0], "[Google Mail]") == 0))
		return levels[1];
	return NULL;
}

/* Place in folder_known_names, or their number if it is in none. */
static unsigned int
folder_known_rank(const struct folder_work *work, enum folder_special_use use)
{
	const char *level = folder_known_level(work);
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(folder_known_names); i++) {
		if (level != NULL && folder_known_names[i].use == use &&
		    strcasecmp(folder_known_names[i].name, level) == 0)
			break;
	}
	return i;
}

static struct folder_work *
folder_find_by_attribute(struct folder_map *map, enum folder_special_use use)
{
	unsigned int i;

	for (i = 0; i < map->count; i++) {
		struct folder_work *work = &map->work[i];

		if (folder_is_open(work) && !work->mapped->inbox &&
		    (work->mapped->listed->special_use & use) != 0)
			return work;
	}
	return NULL;
}

/* All that bear one of the names are of that use, the best is the primary. */
static struct folder_work *
folder_find_by_name(struct folder_map *map, enum folder_special_use use)
{
	unsigned int i, rank, best_rank = N_ELEMENTS(folder_known_names);
	struct folder_work *best = NULL;

	for (i = 0; i < map->count; i++) {
		struct folder_work *work = &map->work[i];

		if (!folder_is_open(work) ||
		    work->mapped->special_use != FOLDER_SPECIAL_NONE)
			continue;
		rank = folder_known_rank(work, use);
		if (rank < N_ELEMENTS(folder_known_names))
			work->mapped->special_use = use;
		if (rank < best_rank) {
			best_rank = rank;
			best = work;
		}
	}
	return best;
}

static void folder_find_special_uses(struct folder_map *map)
{
	struct folder_work *primary;
	unsigned int i;

	for (i = 0; i < map->count; i++) {
		if (!map->work[i].mapped->inbox)
			map->work[i].mapped->special_use =
				map->work[i].mapped->listed->special_use;
	}
	for (i = 0; i < N_ELEMENTS(folder_special_uses); i++) {
		enum folder_special_use use = folder_special_uses[i].use;

		primary = folder_find_by_attribute(map, use);
		if (primary == NULL)
			primary = folder_find_by_name(map, use);
		if (primary != NULL)
			primary->primary = TRUE;
	}
}

/*
 * Local names
 */

/* What cannot stand in a level becomes '_'. changed_r is only ever set. */
static void
folder_level_append(const struct folder_map *map, string_t *dest,
		    const char *level, bool *changed_r)
{
	unichar_t chr;
	int len;

	for (; *level != '\0'; level += len) {
		len = uni_utf8_get_char(level, &chr);
		i_assert(len > 0);
		/* ZWNJ and ZWJ are spelling in some scripts */
		if (chr == '/' ||
		    chr == (unsigned char)map->local->separator ||
		    (redact_char_is_unsafe(chr) &&
		     chr != 0x200c && chr != 0x200d)) {
			str_append_c(dest, '_');
			*changed_r = TRUE;
		} else {
			str_append_data(dest, level, len);
		}
	}
}

static const char *
folder_name_from_levels(const struct folder_map *map, struct folder_work *work)
{
	unsigned int i, first = map->below_inbox ? 1 : 0;
	string_t *name = t_str_new(64);
	bool changed = FALSE;

	for (i = first; i < work->level_count; i++) {
		if (i > first)
			str_append_c(name, map->local->separator);
		folder_level_append(map, name, work->levels[i], &changed);
	}
	work->claim = changed ? FOLDER_CLAIM_CHANGED : FOLDER_CLAIM_SAME;
	return str_c(name);
}

/* A name written in the account, with local separators. Returns NULL if it
   cannot be one. */
static const char *
folder_name_configured(const struct folder_map *map, const char *name)
{
	const char separators[] = { '/', map->local->separator, '\0' };
	const char separator[] = { map->local->separator, '\0' };
	const char *const *levels;
	unsigned int count;

	if (*name == '~' || folder_has_control(name) ||
	    strlen(name) > FOLDER_NAME_MAX ||
	    !folder_split(unsafe_data_stack_pool, name, separators,
			  &levels, &count))
		return NULL;
	return t_strarray_join(levels, separator);
}

/* Splits an item of folder_map. FALSE if it cannot be split. */
static bool
folder_map_item_split(const char *item, const char **remote_r,
		      const char **local_r)
{
	const char *sep = strrchr(item, '=');

	if (sep == NULL || sep == item)
		return FALSE;
	*remote_r = t_strdup_until(item, sep);
	*local_r = sep + 1;
	return TRUE;
}

static bool
folder_map_item_matches(const char *remote, const struct folder_work *work)
{
	if (*remote == '\\')
		return work->primary && (work->mapped->special_use &
					 folder_special_use_parse(remote)) != 0;
	return work->mapped->inbox ? strcasecmp(remote, "INBOX") == 0 :
		strcmp(remote, work->name) == 0;
}

static const char *
folder_name_mapped(const struct folder_map *map,
		   const struct folder_work *work)
{
	const char *const *item = map->account->folder_map;
	const char *remote, *local;

	for (; *item != NULL; item++) {
		if (!folder_map_item_split(*item, &remote, &local))
			i_unreached();
		if (folder_map_item_matches(remote, work))
			return folder_name_configured(map, local);
	}
	return NULL;
}

/* INBOX has no prefix (RFC 2342, 5) */
static const char *
folder_name_with_prefix(const struct folder_map *map, const char *name)
{
	const char separator[] = { map->local->separator, '\0' };
	size_t len = strlen(map->local->prefix);

	if (map->subfolder != NULL)
		name = t_strconcat(map->subfolder, separator, name, NULL);
	else if (strcasecmp(name, "INBOX") == 0)
		return name;
	return strncmp(name, map->local->prefix, len) == 0 ? name :
		t_strconcat(map->local->prefix, name, NULL);
}

/* The user's own mailboxes come as whole vnames, which do not fit below a
   subfolder. */
static const char *
folder_name_special(const struct folder_map *map,
		    const struct folder_work *work)
{
	const struct folder_local *local = map->local;
	const struct {
		enum folder_special_use use;
		const char *own, *english;
	} names[] = {
		{ FOLDER_SPECIAL_SENT, local->sent, "Sent" },
		{ FOLDER_SPECIAL_DRAFTS, local->drafts, "Drafts" },
		{ FOLDER_SPECIAL_JUNK, local->junk, "Junk" },
		{ FOLDER_SPECIAL_TRASH, local->trash, "Trash" },
		{ FOLDER_SPECIAL_ARCHIVE, local->archive, "Archive" },
	};
	unsigned int i;

	if (!work->primary || map->account->preset == ACCOUNT_PRESET_BACKUP)
		return NULL;
	for (i = 0; i < N_ELEMENTS(names); i++) {
		if ((work->mapped->special_use & names[i].use) == 0)
			continue;
		if (names[i].own != NULL && map->subfolder == NULL)
			return names[i].own;
		return folder_name_with_prefix(map, names[i].english);
	}
	return NULL;
}

/* Returns the vname and sets the claim on it. */
static const char *
folder_name_get(const struct folder_map *map, struct folder_work *work)
{
	const char *name = folder_name_mapped(map, work);

	work->claim = FOLDER_CLAIM_NAMED;
	if (name != NULL)
		return folder_name_with_prefix(map, name);
	if (work->mapped->inbox) {
		work->claim = FOLDER_CLAIM_INBOX;
		return folder_name_with_prefix(map, "INBOX");
	}
	name = folder_name_special(map, work);
	if (name != NULL)
		return name;
	name = folder_name_from_levels(map, work);
	return folder_name_with_prefix(map, name);
}

static void
folder_set_local_name(struct folder_map *map, struct folder_work *work,
		      const char *name)
{
	if (strlen(name) <= FOLDER_NAME_MAX)
		work->mapped->local_name = p_strdup(map->pool, name);
	else {
		work->mapped->local_name = NULL;
		work->mapped->reason = "name is too long";
	}
}

static void folder_set_local_names(struct folder_map *map)
{
	unsigned int i;

	for (i = 0; i < map->count; i++) T_BEGIN {
		struct folder_work *work = &map->work[i];

		if (work->levels != NULL)
			folder_set_local_name(map, work,
					      folder_name_get(map, work));
	} T_END;
}

/*
 * Collisions
 */

/* Equal for names that may be one mailbox: INBOX in any case, and non-ASCII
   names that differ in case or in composition only. */
static const char *folder_collision_key(const char *name)
{
	buffer_t *key = t_buffer_create(128);
	const char *p;

	if (strcasecmp(name, "INBOX") == 0)
		return "INBOX";
	for (p = name; *p != '\0'; p++) {
		if ((unsigned char)*p >= 0x80) {
			(void)uni_utf8_to_decomposed_titlecase(
				name, strlen(name), key);
			buffer_append_c(key, '\0');
			return key->data;
		}
	}
	return name;
}

struct folder_claims {
	/* the lowest claim, and how many have it; how many claim at all */
	enum folder_claim best;
	unsigned int best_count, count;
};

HASH_TABLE_DEFINE_TYPE(folder_claims, char *, struct folder_claims *);

static bool folder_claims_a_name(const struct folder_work *work)
{
	return work->mapped->local_name != NULL && folder_is_open(work);
}

static void
folder_claim_count(const struct folder_work *work, pool_t pool,
		   HASH_TABLE_TYPE(folder_claims) table)
{
	const char *key = folder_collision_key(work->mapped->local_name);
	struct folder_claims *claims = hash_table_lookup(table, key);

	if (claims == NULL) {
		claims = p_new(pool, struct folder_claims, 1);
		claims->best = work->claim;
		hash_table_insert(table, p_strdup(pool, key), claims);
	}
	claims->count++;
	if (work->claim < claims->best) {
		claims->best = work->claim;
		claims->best_count = 0;
	}
	if (work->claim == claims->best)
		claims->best_count++;
}

/* INBOX is never got by accident, even where the server does not list its
   own. */
static bool
folder_claim_wins(const struct folder_work *work,
		  HASH_TABLE_TYPE(folder_claims) table)
{
	const char *key = folder_collision_key(work->mapped->local_name);
	const struct folder_claims *claims = hash_table_lookup(table, key);

	if (strcmp(key, "INBOX") == 0 && work->claim > FOLDER_CLAIM_NAMED)
		return FALSE;
	if (claims->count == 1)
		return TRUE;
	return work->claim == claims->best && claims->best_count == 1;
}

static const char *folder_suffix(const char *remote_name)
{
	unsigned char digest[SHA256_RESULTLEN];

	sha256_get_digest(remote_name, strlen(remote_name), digest);
	return binary_to_hex(digest, FOLDER_SUFFIX_DIGITS / 2);
}

static void
folder_claim_lost(struct folder_map *map, struct folder_work *work, bool first)
{
	if (first) {
		work->claim = FOLDER_CLAIM_CHANGED;
		folder_set_local_name(map, work, t_strdup_printf("%s-%s",
			work->mapped->local_name,
			folder_suffix(work->mapped->listed->remote_name)));
	} else {
		work->mapped->local_name = NULL;
		work->mapped->reason = "local name is taken by another folder";
	}
}

/* first: the losers get a suffix. After it somebody may still have chosen a
   name that looks like another one with its suffix: then the losers are not
   mapped at all. */
static void folder_resolve_collisions(struct folder_map *map, bool first)
{
	HASH_TABLE_TYPE(folder_claims) table;
	pool_t pool = pool_alloconly_create("folder claims", 4096);
	unsigned int i;

	hash_table_create(&table, pool, map->count, str_hash, strcmp);
	for (i = 0; i < map->count; i++) T_BEGIN {
		if (folder_claims_a_name(&map->work[i]))
			folder_claim_count(&map->work[i], pool, table);
	} T_END;
	for (i = 0; i < map->count; i++) T_BEGIN {
		if (folder_claims_a_name(&map->work[i]) &&
		    !folder_claim_wins(&map->work[i], table))
			folder_claim_lost(map, &map->work[i], first);
	} T_END;
	hash_table_destroy(&table);
	pool_unref(&pool);
}

/*
 * Selection
 */

/* '*' and '%' as in LIST. All places in the name that the mask can have led to
   are followed at once: no mask makes it slow. */
static bool
folder_wildcard_matches(const char *mask, const char *name, char separator)
{
	size_t i, len = strlen(name);
	bool *at = t_new(bool, len + 1);

	at[0] = TRUE;
	for (; *mask != '\0'; mask++) {
		if (*mask == '*' || *mask == '%') {
			for (i = 1; i <= len; i++) {
				if (*mask == '*' || name[i - 1] != separator)
					at[i] = at[i] || at[i - 1];
			}
		} else {
			for (i = len; i > 0; i--)
				at[i] = at[i - 1] && name[i - 1] == *mask;
			at[0] = FALSE;
		}
	}
	return at[len];
}

static bool
folder_mask_matches(const struct folder_mask *mask,
		    const struct folder_work *work, bool primary_only)
{
	if (mask->special_use != FOLDER_SPECIAL_NONE)
		return (work->mapped->special_use & mask->special_use) != 0 &&
			(work->primary || !primary_only);
	if (mask->regex)
		return regexec(&mask->compiled, work->name, 0, NULL, 0) == 0;
	return folder_wildcard_matches(mask->text, work->name,
				       work->mapped->listed->separator);
}

/* A wildcard is not meant for folders that show the mail of the others. */
static bool
folder_mask_selects(const struct folder_mask *mask,
		    const struct folder_work *work)
{
	if ((work->mapped->special_use & FOLDER_SPECIAL_VIRTUAL) != 0 &&
	    mask->special_use == FOLDER_SPECIAL_NONE &&
	    strcmp(mask->text, work->name) != 0)
		return FALSE;
	return folder_mask_matches(mask, work, TRUE);
}

static bool
folder_is_excluded(const struct folder_map *map, const struct folder_work *work)
{
	unsigned int i;

	for (i = 0; i < map->exclude.count; i++) {
		if (folder_mask_matches(&map->exclude.masks[i], work, FALSE))
			return TRUE;
	}
	return FALSE;
}

static bool
folder_is_chosen(const struct folder_map *map, const struct folder_work *work)
{
	unsigned int i;

	for (i = 0; i < map->folders.count; i++) {
		if (folder_mask_selects(&map->folders.masks[i], work))
			return TRUE;
	}
	return FALSE;
}

/* Returns NULL if the folder is to be pulled. */
static const char *
folder_why_not(const struct folder_map *map, const struct folder_work *work)
{
	if (!folder_is_open(work))
		return "holds no mail";
	if (folder_is_excluded(map, work))
		return "excluded";
	if (!folder_is_chosen(map, work)) {
		return (work->mapped->special_use &
			FOLDER_SPECIAL_VIRTUAL) == 0 ? "not chosen" :
			"shows the mail of other folders";
	}
	if (map->account->subscribed_only && !work->mapped->inbox &&
	    !work->mapped->listed->subscribed)
		return "not subscribed";
	return NULL;
}

static void folder_select(struct folder_map *map)
{
	unsigned int i;

	for (i = 0; i < map->count; i++) T_BEGIN {
		struct folder_mapped *mapped = map->work[i].mapped;

		if (mapped->local_name != NULL) {
			mapped->reason = folder_why_not(map, &map->work[i]);
			mapped->selected = mapped->reason == NULL;
		}
	} T_END;
}

/*
 * The account's words
 */

struct folder_regex_cost {
	unsigned int groups;
	/* sum, and product */
	unsigned int times, group_times;
};

/* How often the library copies what stands before p; 0 = p is no repetition
   that copies. */
static unsigned int folder_regex_times(const char *p)
{
	unsigned int num = 0, max = 0;

	if (*p == '+')
		return 2;
	if (*p != '{')
		return 0;
	for (p++; i_isdigit(*p) || *p == ','; p++) {
		num = *p == ',' ? 0 : I_MIN(num * 10 + (*p - '0'), RE_DUP_MAX);
		max = I_MAX(max, num);
	}
	return max;
}

/* Brackets are not looked for: what stands in them counts, too. */
static const char *folder_regex_why_not(const char *regex)
{
	struct folder_regex_cost cost = { .group_times = 1 };
	unsigned int times;
	/* there is a group or a repetition before p */
	bool behind = FALSE;
	const char *p;

	for (p = regex; *p != '\0'; p++) {
		if (*p == '\\' && i_isdigit(p[1]))
			return "it must have no back-references";
		times = folder_regex_times(p);
		if (times > 0 && behind)
			cost.group_times *= times;
		else
			cost.times += times;
		if (*p == '(' && ++cost.groups > FOLDER_REGEX_MAX_GROUPS)
			return "it has too many groups";
		if (cost.times > FOLDER_REGEX_MAX_TIMES ||
		    cost.group_times > FOLDER_REGEX_MAX_GROUP_TIMES)
			return "it repeats too much";
		behind = strchr(")*+?}", *p) != NULL;
		if (*p == '\\' && p[1] != '\0')
			p++;
	}
	return NULL;
}

static int
folder_regex_compile(struct folder_mask *mask, const char *regex,
		     const char **error_r)
{
	const char *why = folder_regex_why_not(regex);
	char error[128];
	int ret;

	if (why != NULL) {
		*error_r = t_strdup_printf("mask %s: %s", mask->text, why);
		return -1;
	}
	ret = regcomp(&mask->compiled, t_strdup_printf("^(%s)$", regex),
		      REG_EXTENDED | REG_NOSUB);
	if (ret != 0) {
		regerror(ret, &mask->compiled, error, sizeof(error));
		*error_r = t_strdup_printf("mask %s: %s", mask->text, error);
		return -1;
	}
	mask->regex = TRUE;
	return 0;
}

bool folder_mask_is_regex(const char *mask)
{
	return mask[0] == '/';
}

static int
folder_regex_init(struct folder_mask *mask, const char **error_r)
{
	size_t len = strlen(mask->text);

	if (len < 3 || len > FOLDER_REGEX_MAX || mask->text[len - 1] != '/') {
		*error_r = t_strdup_printf("mask %s: a regular expression "
					   "must be written /.../", mask->text);
		return -1;
	}
	return folder_regex_compile(mask, t_strndup(mask->text + 1, len - 2),
				    error_r);
}

static int folder_mask_init(struct folder_mask *mask, const char **error_r)
{
	if (folder_mask_is_regex(mask->text))
		return folder_regex_init(mask, error_r);
	if (mask->text[0] != '\\')
		return 0;
	mask->special_use = folder_special_use_parse(mask->text);
	if (mask->special_use == FOLDER_SPECIAL_NONE) {
		*error_r = t_strdup_printf("mask %s: unknown special use",
					   mask->text);
		return -1;
	}
	return 0;
}

static int
folder_masks_init(pool_t pool, const char *const *texts,
		  struct folder_masks *masks, const char **error_r)
{
	struct folder_mask *mask;

	masks->masks = p_new(pool, struct folder_mask,
			     str_array_length(texts) + 1);
	for (; *texts != NULL; texts++) {
		mask = &masks->masks[masks->count++];
		mask->text = *texts;
		/* as in the names it is held against */
		if (strncasecmp(mask->text, "INBOX", 5) == 0 &&
		    !i_isalnum(mask->text[5]))
			mask->text = p_strconcat(pool, "INBOX",
						 mask->text + 5, NULL);
		if (folder_mask_init(mask, error_r) < 0)
			return -1;
	}
	return 0;
}

static void folder_masks_deinit(struct folder_masks *masks)
{
	unsigned int i;

	for (i = 0; i < masks->count; i++) {
		if (masks->masks[i].regex)
			regfree(&masks->masks[i].compiled);
	}
}

static int
folder_check_map_item(const struct folder_map *map, const char *item,
		      const char **error_r)
{
	const char *remote, *local;

	if (!folder_map_item_split(item, &remote, &local)) {
		*error_r = t_strdup_printf("folder_map %s: must be "
					   "remote=local", item);
		return -1;
	}
	if (*remote == '\\' &&
	    folder_special_use_parse(remote) == FOLDER_SPECIAL_NONE) {
		*error_r = t_strdup_printf("folder_map %s: unknown special "
					   "use", item);
		return -1;
	}
	if (folder_name_configured(map, local) == NULL) {
		*error_r = t_strdup_printf("folder_map %s: bad local name",
					   item);
		return -1;
	}
	return 0;
}

static int
folder_init_names(struct folder_map *map, const char **error_r)
{
	const struct account *account = map->account;
	const char *const *item;

	for (item = account->folder_map; *item != NULL; item++) {
		if (folder_check_map_item(map, *item, error_r) < 0)
			return -1;
	}
	if (account->subfolder == NULL)
		return 0;
	map->subfolder = folder_name_configured(map, account->subfolder);
	if (map->subfolder == NULL) {
		*error_r = t_strdup_printf("subfolder %s: bad local name",
					   account->subfolder);
		return -1;
	}
	return 0;
}

static int
folder_map_run(struct folder_map *map, const char **error_r)
{
	if (folder_init_names(map, error_r) < 0 ||
	    folder_masks_init(map->pool, map->account->folders,
			      &map->folders, error_r) < 0 ||
	    folder_masks_init(map->pool, map->account->exclude,
			      &map->exclude, error_r) < 0)
		return -1;
	folder_read_names(map);
	map->below_inbox = folder_all_below_inbox(map);
	folder_find_special_uses(map);
	folder_set_local_names(map);
	folder_resolve_collisions(map, TRUE);
	folder_resolve_collisions(map, FALSE);
	folder_select(map);
	return 0;
}

int folder_map_make(pool_t pool, const struct account *account,
		    const struct folder_local *local,
		    const struct folder_listed *listed, unsigned int count,
		    struct folder_mapped *mapped_r, const char **error_r)
{
	struct folder_map map = {
		.pool = pool,
		.account = account,
		.local = local,
		.work = p_new(pool, struct folder_work, count + 1),
		.count = count,
	};
	unsigned int i;
	int ret;

	for (i = 0; i < count; i++) {
		i_zero(&mapped_r[i]);
		mapped_r[i].listed = &listed[i];
		map.work[i].mapped = &mapped_r[i];
	}
	ret = folder_map_run(&map, error_r);
	folder_masks_deinit(&map.folders);
	folder_masks_deinit(&map.exclude);
	return ret;
}
