/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/account.h"
#include "fuzz.h"

/* Settings, a line each: what parses is printed, parses again, and means the
   same. */
static void fuzz_account(pool_t pool, const char *text)
{
	const char *const *settings = t_strsplit(text, "\n");
	const char *const *printed, *const *again, *error = NULL;
	struct account account;

	if (account_parse(pool, "anna@example.org", "work", settings,
			  &account, &error) < 0) {
		i_assert(error != NULL && *error != '\0');
		return;
	}
	printed = account_print(pool, &account, FALSE);
	if (account_parse(pool, account.user, account.name, printed,
			  &account, &error) < 0)
		i_panic("%s", error);
	printed = account_print(pool, &account, TRUE);
	if (account_parse(pool, account.user, account.name, printed,
			  &account, &error) < 0)
		i_panic("%s", error);
	again = account_print(pool, &account, TRUE);
	i_assert(strcmp(t_strarray_join(printed, "\n"),
			t_strarray_join(again, "\n")) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		pool_t pool = pool_allocfree_create("fuzz account");

		fuzz_account(pool, fuzz_text(data, size));
		pool_unref(&pool);
	} T_END;
	return 0;
}
