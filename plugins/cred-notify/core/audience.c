/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "array.h"
#include "strfuncs.h"
#include "dovecot-compat.h"
#include "text-safe.h"
#include "audience.h"

static const struct {
	const char *name;
	enum audience_channel channel;
} channels[] = {
	{ "flash", AUDIENCE_FLASH },
	{ "live", AUDIENCE_LIVE },
	{ "mail", AUDIENCE_MAIL },
	{ "outside", AUDIENCE_MAIL_OUTSIDE },
	{ "http", AUDIENCE_HTTP },
	{ "webhook", AUDIENCE_WEBHOOK },
};

const char *audience_channel_name(enum audience_channel channel)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(channels); i++) {
		if (channels[i].channel == channel)
			return channels[i].name;
	}
	i_unreached();
}

bool audience_channel_parse(const char *name, enum audience_channel *channel_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(channels); i++) {
		if (strcasecmp(channels[i].name, name) == 0) {
			*channel_r = channels[i].channel;
			return TRUE;
		}
	}
	return FALSE;
}

/* Returns NULL if there is no such field. */
static const char *
field_find(const char *const *fields, const char *key)
{
	size_t len = strlen(key);

	for (; *fields != NULL; fields++) {
		if (strncmp(*fields, key, len) == 0 && (*fields)[len] == '=')
			return *fields + len + 1;
	}
	return NULL;
}

static const char *const *
field_list(const char *const *fields, const char *key)
{
	const char *value = field_find(fields, key);

	return t_strsplit_spaces(value == NULL ? "" : value, ", ");
}

static bool list_has(const char *const *list, const char *name)
{
	for (; list != NULL && *list != NULL; list++) {
		if (strcmp(*list, name) == 0)
			return TRUE;
	}
	return FALSE;
}

static bool
user_holds_capability(const struct audience_config *config, const char *name,
		      const char *const *fields)
{
	const char *const *list;

	list = field_list(fields, "cred_notify_capabilities");
	if (list_has(list, AUDIENCE_CAPABILITY) ||
	    list_has(list, AUDIENCE_CAPABILITY_ALIAS) ||
	    list_has(config->capability_users, name))
		return TRUE;
	for (list = field_list(fields, "acl_groups"); *list != NULL; list++) {
		if (list_has(config->capability_groups, *list))
			return TRUE;
	}
	return FALSE;
}

static unsigned int user_opt_out(const char *const *fields)
{
	const char *const *list = field_list(fields, "cred_notify_off");
	enum audience_channel channel;
	unsigned int opt_out = 0;

	for (; *list != NULL; list++) {
		if (strcasecmp(*list, "yes") == 0)
			opt_out = AUDIENCE_ALL;
		else if (audience_channel_parse(*list, &channel))
			opt_out |= channel;
	}
	return opt_out;
}

static const char *const *
user_addresses(pool_t pool, const char *const *fields)
{
	const char *value = field_find(fields, "cred_notify_email");
	const char *const *list = t_strsplit(value == NULL ? "" : value, ",");
	ARRAY_TYPE(const_string) addresses;
	const char *address;

	p_array_init(&addresses, pool, 2);
	for (; *list != NULL; list++) {
		address = p_strdup(pool, t_str_trim(*list, " "));
		if (strchr(address, '@') != NULL &&
		    text_safe_is_address(address))
			array_push_back(&addresses, &address);
	}
	array_append_zero(&addresses);
	return array_front(&addresses);
}

void audience_user_parse(pool_t pool, const struct audience_config *config,
			 const char *name, const char *const *fields,
			 struct audience_user *user_r)
{
	const char *language;

	i_zero(user_r);
	user_r->name = p_strdup(pool, name);
	T_BEGIN {
		language = field_find(fields, "cred_notify_language");
		user_r->language = p_strdup(pool, language == NULL ? "" :
					    language);
		user_r->holds_capability =
			user_holds_capability(config, name, fields);
		user_r->opt_out = user_opt_out(fields);
		user_r->addresses = user_addresses(pool, fields);
	} T_END;
}

static bool notice_is_local(const struct notice *notice)
{
	return notice->state.subject.origin == NOTICE_ORIGIN_ACCOUNT &&
		notice->state.told_class == NOTICE_CLASS_LOCAL;
}

/* A fault of ours is nothing an owner could mend. */
unsigned int audience_groups(const struct notice *notice, bool owner_exists)
{
	const struct notice_subject *subject = &notice->state.subject;

	if (notice->kind == NOTICE_KIND_FORGOTTEN)
		return 0;
	if (subject->origin == NOTICE_ORIGIN_LOGIN)
		return owner_exists ? AUDIENCE_GROUP_OWNER : 0;
	if (notice_is_local(notice) || *subject->user == '\0' || !owner_exists)
		return AUDIENCE_GROUP_HOLDERS;
	return AUDIENCE_GROUP_OWNER;
}

bool audience_address_is_usable(const char *address,
				const char *broken_address)
{
	return strcasecmp(address, broken_address) != 0;
}

static bool
user_has_address(const struct audience_user *user, const char *broken_address)
{
	const char *const *address;

	for (address = user->addresses; *address != NULL; address++) {
		if (audience_address_is_usable(*address, broken_address))
			return TRUE;
	}
	return FALSE;
}

static bool
user_is_meant(const struct notice *notice, unsigned int groups,
	      const struct audience_user *user)
{
	const char *owner = notice->state.subject.user;

	if ((groups & AUDIENCE_GROUP_OWNER) != 0 && *owner != '\0' &&
	    strcmp(owner, user->name) == 0)
		return TRUE;
	return (groups & AUDIENCE_GROUP_HOLDERS) != 0 &&
		user->holds_capability;
}

/* Who never heard of the trouble has no use for its end. A digest is news to
   who was made a holder meanwhile. */
unsigned int
audience_tells(const struct audience_config *config,
	       const struct notice *notice, unsigned int groups,
	       const struct audience_user *user, bool was_told,
	       const char *broken_address)
{
	unsigned int result = config->channels & ~AUDIENCE_WEBHOOK;

	if (notice->kind == NOTICE_KIND_FORGOTTEN ||
	    (notice->kind == NOTICE_KIND_RECOVERY && !was_told) ||
	    !user_is_meant(notice, groups, user))
		return 0;
	result &= ~user->opt_out;
	if (!user_has_address(user, broken_address))
		result &= ~AUDIENCE_MAIL_OUTSIDE;
	return result;
}

/* A session that is open needs no login. */
bool audience_is_reachable(const struct notice *notice, unsigned int channels)
{
	if (notice->state.subject.origin == NOTICE_ORIGIN_LOGIN)
		channels &= ~AUDIENCE_MAIL;
	return channels != 0;
}

bool audience_is_own_address(const struct audience_config *config,
			     const struct ip_addr *ip)
{
	const char *const *network = config->own_networks;
	struct ip_addr net;
	unsigned int bits;

	for (; network != NULL && *network != NULL; network++) {
		if (ip->family != 0 &&
		    net_parse_range(*network, &net, &bits) == 0 &&
		    net_is_in_network(ip, &net, bits))
			return TRUE;
	}
	return FALSE;
}
