/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "ioloop.h"
#include "str.h"
#include "settings.h"
#include "mail-namespace.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "dovecot-compat.h"
#include "redact.h"
#include "remote-account.h"
#include "pull-private.h"

/* fsync=auto: a run that brings at least so many messages is made durable
   batch by batch */
#define BULK_MIN_MESSAGES 500
#define INPUT_BUFFER_SIZE (128*1024)
#define MAX_LINE_SIZE (64*1024)

/*
 * What went wrong
 */

/* The worse the class, the more of the account it reaches. */
static unsigned int class_weight(enum reply_class class)
{
	if (class == REPLY_CLASS_OK)
		return 0;
	if (class == REPLY_CLASS_MESSAGE)
		return 1;
	return class == REPLY_CLASS_FOLDER ? 2 : 3;
}

void pull_set_error(struct pull *pull, enum reply_class class,
		    const char *folder, const char *text)
{
	struct pull_result *result = &pull->result;

	if (class_weight(class) <= class_weight(result->class))
		return;
	result->class = class;
	result->hint = REPLY_HINT_NONE;
	result->detail = NULL;
	result->text = folder == NULL ? p_strdup(pull->pool, text) :
		p_strdup_printf(pull->pool, "folder %s: %s", folder, text);
}

/* A sink that stops the run has said why already: that stays. */
void pull_set_remote_error(struct pull *pull, const char *folder,
			   const struct remote_imap_error *error)
{
	struct pull_result *result = &pull->result;

	if (class_weight(error->class) > class_weight(result->class)) {
		pull_set_error(pull, error->class, folder, error->text);
		result->hint = error->hint;
		result->detail = p_strdup(pull->pool, error->detail);
	}
	result->wait_secs = error->wait_secs;
}

int pull_db_failed(struct pull *pull)
{
	pull->db_failed = TRUE;
	pull_set_error(pull, REPLY_CLASS_LOCAL, NULL,
		       state_db_get_error(pull->db));
	return -1;
}

static int pull_source_failed(struct pull *pull)
{
	pull_set_remote_error(pull, NULL, source_imap_get_error(pull->source));
	return -1;
}

bool pull_is_stopped(struct pull *pull)
{
	return pull->sink_stopped || pull->set.is_stopped(pull->set.context);
}

static bool pull_is_stopped_callback(void *context)
{
	return pull_is_stopped(context);
}

/*
 * Source
 */

static void
pull_step_callback(enum remote_imap_step step, const char *detail,
		   const struct remote_imap_error *error, void *context)
{
	struct pull *pull = context;

	if (pull->set.step != NULL)
		pull->set.step(step, detail, error, pull->set.context);
}

static int pull_client_settings(struct pull *pull,
				struct remote_imap_settings *client_r)
{
	struct net_policy *policy = p_new(pull->pool, struct net_policy, 1);
	const char *error;

	if (remote_account_policy(pull->pool, pull->set.set, pull->set.event,
				  policy, &error) < 0) {
		pull_set_error(pull, REPLY_CLASS_CONFIG, NULL, error);
		return -1;
	}
	remote_account_settings(pull->account, pull->set.secret, pull->set.set,
				policy, client_r);
	client_r->dns_client_socket_path =
		p_strconcat(pull->pool, pull->set.base_dir, "/dns-client",
			    NULL);
	client_r->max_line_size = MAX_LINE_SIZE;
	client_r->input_buffer_size = INPUT_BUFFER_SIZE;
	client_r->event_parent = pull->set.event;
	return 0;
}

static int pull_connect(struct pull *pull)
{
	struct source_imap_settings set;
	string_t *temp_prefix = str_new(pull->pool, 64);

	i_zero(&set);
	if (pull_client_settings(pull, &set.client) < 0)
		return -1;
	mail_user_set_get_temp_prefix(temp_prefix, pull->user->set);
	set.temp_prefix = str_c(temp_prefix);
	set.max_message_size = pull->account->max_size_bytes;
	set.is_stopped = pull_is_stopped_callback;
	set.step = pull_step_callback;
	set.context = pull;
	pull->source = source_imap_init(&set);
	if (source_imap_connect(pull->source) < 0)
		return pull_source_failed(pull);
	return 0;
}

/*
 * Folders
 */

/* The name the user's own mailbox with this special use has, or NULL. */
static const char *
pull_local_special(struct pull *pull, const char *attribute)
{
	struct mail_namespace *ns =
		mail_namespace_find_inbox(pull->user->namespaces);
	const struct mailbox_settings *box;
	unsigned int i;

	if (ns->set == NULL || !array_is_created(&ns->set->parsed_mailboxes))
		return NULL;
	for (i = 0; i < array_count(&ns->set->parsed_mailboxes); i++) {
		box = array_idx_elem(&ns->set->parsed_mailboxes, i);
		if (str_array_icase_find(
				settings_boollist_get(&box->special_use),
				attribute))
			return box->name;
	}
	return NULL;
}

static void pull_local_names(struct pull *pull, struct folder_local *local_r)
{
	struct mail_namespace *ns =
		mail_namespace_find_inbox(pull->user->namespaces);

	i_zero(local_r);
	local_r->separator = mail_namespace_get_sep(ns);
	local_r->prefix = ns->prefix;
	local_r->sent = pull_local_special(pull, "\\Sent");
	local_r->drafts = pull_local_special(pull, "\\Drafts");
	local_r->junk = pull_local_special(pull, "\\Junk");
	local_r->trash = pull_local_special(pull, "\\Trash");
	local_r->archive = pull_local_special(pull, "\\Archive");
}

static int pull_map_folders(struct pull *pull)
{
	const struct source_folder *folder;
	struct folder_listed *listed;
	struct folder_local local;
	unsigned int i = 0, count = array_count(&pull->folders);
	const char *error;

	listed = p_new(pull->pool, struct folder_listed, count + 1);
	array_foreach(&pull->folders, folder)
		listed[i++] = folder->listed;
	pull->mapped = p_new(pull->pool, struct folder_mapped, count + 1);
	pull_local_names(pull, &local);
	if (folder_map_make(pull->pool, pull->account, &local, listed, count,
			    pull->mapped, &error) == 0)
		return 0;
	pull_set_error(pull, REPLY_CLASS_CONFIG, NULL, error);
	return -1;
}

/* Ask what LIST did not tell. */
static int pull_missing_status(struct pull *pull)
{
	ARRAY(struct source_folder *) missing;
	struct source_folder *folder;
	unsigned int i;

	t_array_init(&missing, 16);
	for (i = 0; i < array_count(&pull->folders); i++) {
		folder = array_idx_modifiable(&pull->folders, i);
		if (pull->mapped[i].selected &&
		    folder->status.uidvalidity == 0)
			array_push_back(&missing, &folder);
	}
	if (array_count(&missing) == 0)
		return 0;
	if (source_imap_status(pull->source, array_front(&missing),
			       array_count(&missing)) < 0)
		return pull_source_failed(pull);
	return 0;
}

static int pull_list(struct pull *pull)
{
	p_array_init(&pull->folders, pull->pool, 32);
	if (source_imap_list(pull->source, pull->pool,
			     pull->account->subscribed_only,
			     &pull->folders) < 0)
		return pull_source_failed(pull);
	if (pull_map_folders(pull) < 0)
		return -1;
	return pull_missing_status(pull);
}

/* A folder named without wildcards that is not there deserves a word. */
static bool pull_mask_is_name(const char *mask)
{
	return strpbrk(mask, "*%") == NULL && mask[0] != '\\' &&
		mask[0] != '/';
}

static void pull_check_named_folders(struct pull *pull)
{
	const char *const *mask;
	unsigned int i;

	for (mask = pull->account->folders; *mask != NULL; mask++) {
		bool found = !pull_mask_is_name(*mask);

		for (i = 0; i < array_count(&pull->folders) && !found; i++) {
			const char *name =
				pull->mapped[i].listed->remote_name;
			found = pull->mapped[i].selected &&
				(strcmp(name, *mask) == 0 ||
				 (pull->mapped[i].inbox &&
				  strcasecmp(*mask, "INBOX") == 0) ||
				 strchr(name, '&') != NULL);
		}
		if (!found) {
			pull_set_error(pull, REPLY_CLASS_FOLDER,
				       redact_remote_name(*mask),
				       "the server has no such folder");
		}
	}
}

/*
 * The run
 */

static int pull_open_state(struct pull *pull)
{
	const char *error;

	switch (state_db_open(pull->set.set->imapsync_pull_state_dir,
			      pull->account->source_id, &pull->db, &error)) {
	case STATE_DB_FAILED:
		pull_set_error(pull, REPLY_CLASS_LOCAL, NULL, error);
		return -1;
	case STATE_DB_BUSY:
		pull_set_error(pull, REPLY_CLASS_BUSY, NULL, error);
		return -1;
	case STATE_DB_NEW:
	case STATE_DB_FOUND:
		break;
	}
	return 0;
}

/* How is this run made durable? Decided before the first mailbox is opened. */
static int pull_choose_fsync(struct pull *pull)
{
	const char *mode = pull->set.set->imapsync_pull_fsync;
	const struct source_folder *folder;
	unsigned int count, total = 0;
	unsigned int i = 0;

	if (pull->set.dry_run || strcmp(mode, "storage") == 0)
		return 0;
	array_foreach(&pull->folders, folder) {
		if (!pull->mapped[i++].selected)
			continue;
		if (pull_folder_estimate(pull, folder, &count) < 0)
			return -1;
		total += count;
	}
	if (strcmp(mode, "batch") != 0 && total < BULK_MIN_MESSAGES)
		return 0;
	pull->batch_fsync = TRUE;
	pull->user = pull->set.get_user(TRUE, pull->set.context);
	if (pull->user == NULL) {
		pull_set_error(pull, REPLY_CLASS_LOCAL, NULL,
			       "the mail user cannot be opened again");
		return -1;
	}
	return 0;
}

static int pull_folders_that(struct pull *pull, bool inbox)
{
	const struct folder_mapped *mapped = pull->mapped;
	const struct source_folder *folder;

	array_foreach(&pull->folders, folder) {
		if (mapped->selected && mapped->inbox == inbox) {
			pull->result.counts.folders++;
			if (pull_folder_run(pull, folder, mapped) < 0)
				return -1;
		}
		mapped++;
	}
	return 0;
}

/* What somebody may be waiting for comes first. */
static int pull_folders(struct pull *pull)
{
	if (pull_folders_that(pull, TRUE) < 0)
		return -1;
	return pull_folders_that(pull, FALSE);
}

static void pull_init(struct pull *pull, pool_t pool,
		      const struct pull_settings *set)
{
	i_zero(pull);
	pull->pool = pool;
	pull->set = *set;
	pull->account = set->account;
	pull->now = ioloop_time;
	pull->result.class = REPLY_CLASS_OK;
	pull->result.text = "";
	pull->user = set->get_user(FALSE, set->context);
}

static void pull_deinit(struct pull *pull, struct pull_result *result_r)
{
	uoff_t out;

	if (pull->source != NULL) {
		source_imap_get_traffic(pull->source,
					&pull->result.counts.bytes, &out);
		source_imap_deinit(&pull->source);
	}
	state_db_close(&pull->db);
	*result_r = pull->result;
}

static int pull_run_steps(struct pull *pull)
{
	int ret;

	if (pull_open_state(pull) < 0 || pull_connect(pull) < 0 ||
	    pull_list(pull) < 0)
		return -1;
	pull_check_named_folders(pull);
	if (pull_choose_fsync(pull) < 0)
		return -1;
	ret = pull_store_init(pull);
	if (ret == 0)
		ret = pull_folders(pull);
	pull_store_deinit(pull);
	if (ret == 0)
		source_imap_logout(pull->source);
	return ret;
}

void pull_run(pool_t pool, const struct pull_settings *set,
	      struct pull_result *result_r)
{
	struct pull pull;

	pull_init(&pull, pool, set);
	if (pull.user != NULL)
		(void)pull_run_steps(&pull);
	else {
		pull_set_error(&pull, REPLY_CLASS_LOCAL, NULL,
			       "the mail user cannot be opened");
	}
	pull_deinit(&pull, result_r);
}

static void pull_report_folders(struct pull *pull)
{
	const struct source_folder *folder;
	unsigned int i = 0;

	if (pull->set.folder == NULL)
		return;
	array_foreach(&pull->folders, folder) {
		pull->set.folder(&pull->mapped[i++], &folder->status,
				 pull->set.context);
	}
}

void pull_list_folders(pool_t pool, const struct pull_settings *set,
		       struct pull_result *result_r)
{
	struct pull pull;

	pull_init(&pull, pool, set);
	if (pull.user == NULL) {
		pull_set_error(&pull, REPLY_CLASS_LOCAL, NULL,
			       "the mail user cannot be opened");
	} else if (pull_connect(&pull) == 0 && pull_list(&pull) == 0) {
		pull_check_named_folders(&pull);
		pull_report_folders(&pull);
		pull.result.counts.folders = array_count(&pull.folders);
		source_imap_logout(pull.source);
	}
	pull_deinit(&pull, result_r);
}
