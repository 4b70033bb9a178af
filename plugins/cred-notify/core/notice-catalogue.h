#ifndef CRED_NOTIFY_NOTICE_CATALOGUE_H
#define CRED_NOTIFY_NOTICE_CATALOGUE_H

/* The translations, made from po/<language>.po by po/catalogue.awk when we are
   built: gettext's own run time knows one language per process, and only those
   whose locale the machine has. English is the text asked for itself. */

struct notice_words {
	/* NULL ends the list */
	const char *english, *translated;
};

struct notice_language {
	/* "de"; NULL ends the list */
	const char *name;
	const struct notice_words *words;
};

extern const struct notice_language notice_languages[];

#endif
