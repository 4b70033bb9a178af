#ifndef CRED_NOTIFY_AUDIENCE_H
#define CRED_NOTIFY_AUDIENCE_H

#include "net.h"
#include "notice.h"

/* Who is told, and by which channels: the owner, or for what has no owner
   whoever holds the capability. Pure: users are what a userdb said of them. */

#define AUDIENCE_CAPABILITY "imapsync_credential_notifications"
/* the name it had in another system */
#define AUDIENCE_CAPABILITY_ALIAS \
	"oro_imap_sync_origin_credential_notifications"

enum audience_channel {
	/* after the next login */
	AUDIENCE_FLASH = 0x01,
	/* in sessions that are open */
	AUDIENCE_LIVE = 0x02,
	/* mail into the user's local INBOX */
	AUDIENCE_MAIL = 0x04,
	/* mail to the user's addresses elsewhere */
	AUDIENCE_MAIL_OUTSIDE = 0x08,
	AUDIENCE_HTTP = 0x10,
	/* the site's webhook, once per notice and not per user: never in what
	   audience_tells() returns */
	AUDIENCE_WEBHOOK = 0x20,

	AUDIENCE_ALL = 0x3f
};

/* "flash", "live", ...: of one channel; stable, for settings and machines */
const char *audience_channel_name(enum audience_channel channel);
/* In upper or lower case. */
bool audience_channel_parse(const char *name, enum audience_channel *channel_r);

/* One of ours; lists are NULL-terminated, and may be NULL for empty ones. */
struct audience_config {
	/* enum audience_channel: what the admin turned on */
	unsigned int channels;
	/* groups (roles) whose members hold the capability */
	const char *const *capability_groups;
	/* users who hold it, whatever the userdb says */
	const char *const *capability_users;
	/* networks as net_parse_range() reads them: our own services */
	const char *const *own_networks;
};

/* What a userdb says of a user. */
struct audience_user {
	const char *name;
	bool holds_capability;
	/* enum audience_channel: not wanted */
	unsigned int opt_out;
	/* NULL-terminated */
	const char *const *addresses;
	/* "de"; "" = the site's */
	const char *language;
};

/* Read a user's userdb fields, "key=value" each, NULL-terminated:
     cred_notify_capabilities  comma-separated
     acl_groups                comma-separated: may be mapped to the capability
     cred_notify_off           "yes", or channels: flash live mail outside http
     cred_notify_email         comma-separated addresses elsewhere
     cred_notify_language      "de"
   What makes no sense in them is as if it was not there, and an address with a
   control character or without @ is none. */
void audience_user_parse(pool_t pool, const struct audience_config *config,
			 const char *name, const char *const *fields,
			 struct audience_user *user_r);

enum audience_group {
	AUDIENCE_GROUP_OWNER = 0x01,
	AUDIENCE_GROUP_HOLDERS = 0x02,
};

/* Whom to look for: enum audience_group.

   owner_exists: the userdb knows the owner. If it only did not answer, that is
   for the caller to ask again: nobody else is told then. */
unsigned int audience_groups(const struct notice *notice, bool owner_exists);

/* Is this user to be told, and how? Asked when a notice is made, and again
   with fresh fields at each moment of telling: what was true a minute ago does
   not count.

   was_told: a notice of the same incident reached this user
   broken_address: the address the trouble is with, "" = unknown; nothing is
		   sent there

   Returns enum audience_channel, 0 = not to be told. */
unsigned int
audience_tells(const struct audience_config *config,
	       const struct notice *notice, unsigned int groups,
	       const struct audience_user *user, bool was_told,
	       const char *broken_address);

/* TRUE if one of channels reaches a user whose local mailbox is the trouble:
   if not, holders of the capability are to be told, too. */
bool audience_is_reachable(const struct notice *notice, unsigned int channels);

/* TRUE if mail may go to this one of the user's addresses. */
bool audience_address_is_usable(const char *address,
				const char *broken_address);

/* Webmail, monitoring: what fails from there is nobody's device. Returns FALSE
   for an address that is not known. */
bool audience_is_own_address(const struct audience_config *config,
			     const struct ip_addr *ip);

#endif
