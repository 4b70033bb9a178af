#ifndef CRED_NOTIFY_NOTICE_RULES_H
#define CRED_NOTIFY_NOTICE_RULES_H

#include "notice.h"

/* When trouble becomes a notice, as an admin writes it: words of the form

     <name>=<count>/<span>/<window>

   parted by spaces. name: a notice_class_name() for remote accounts; "login"
   and "attack" for local logins, from few addresses and from many. count,
   span and window are those of struct notice_rule; span and window are numbers
   with s, m, h or d behind them. "<name>=never" is never told. Pure. */

/* What no word names stays as it is. Returns 0, or -1 and error_r, which
   quotes the word; limits may have changed then. */
int notice_rules_parse(const char *words, struct notice_limits *limits,
		       const char **error_r);

#endif
