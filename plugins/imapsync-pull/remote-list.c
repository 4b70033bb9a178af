/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib.h"
#include "imap-arg.h"
#include "core/folder-map.h"
#include "remote-list.h"

static void list_attributes(const struct imap_arg *list,
			    struct folder_listed *listed)
{
	const char *atom;

	for (; imap_arg_get_atom(list, &atom); list++) {
		if (strcasecmp(atom, "\\Noselect") == 0)
			listed->noselect = TRUE;
		else if (strcasecmp(atom, "\\NonExistent") == 0)
			listed->nonexistent = listed->noselect = TRUE;
		else if (strcasecmp(atom, "\\Subscribed") == 0)
			listed->subscribed = TRUE;
		else
			listed->special_use |= folder_special_use_parse(atom);
	}
}

bool remote_list_parse(const struct imap_arg *args,
		       struct folder_listed *listed_r)
{
	const struct imap_arg *attributes;
	const char *separator;

	i_zero(listed_r);
	if (!imap_arg_get_list(&args[0], &attributes) ||
	    !imap_arg_get_nstring(&args[1], &separator) ||
	    !imap_arg_get_astring(&args[2], &listed_r->remote_name) ||
	    strlen(listed_r->remote_name) > FOLDER_REMOTE_NAME_MAX)
		return FALSE;
	if (separator != NULL && strlen(separator) == 1)
		listed_r->separator = separator[0];
	list_attributes(attributes, listed_r);
	return TRUE;
}
