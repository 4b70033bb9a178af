/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "core/reply-class.h"
#include "fuzz.h"

/* A digit for the step, then status, code and text, tabs between them. */
static void fuzz_reply_class(const char *input)
{
	const char *const *words = t_strsplit(input, "\t");
	struct reply reply = { .status = "NO", .text = "" };
	enum reply_class class, again;
	struct reply_advice advice = { UINT_MAX, REPLY_HINT_COUNT };

	if (words[0] != NULL && words[1] != NULL && words[2] != NULL) {
		reply.step = (unsigned char)words[0][0] %
			(REPLY_STEP_OTHER + 1);
		reply.status = words[1];
		reply.code = *words[2] == '\0' ? NULL : words[2];
		reply.text = words[3] == NULL ? "" : words[3];
	} else {
		reply.text = input;
	}
	class = reply_class_get(&reply, &advice);
	i_assert(class != REPLY_CLASS_OK && class < REPLY_CLASS_COUNT);
	i_assert(advice.wait_secs <= 24 * 3600);
	/* a hint is for the owner */
	i_assert(advice.hint == REPLY_HINT_NONE ||
		 class == REPLY_CLASS_CREDENTIAL ||
		 class == REPLY_CLASS_USER_ACTION);
	i_assert(reply_class_parse(reply_class_name(class), &again));
	i_assert(again == class);
	/* only a login can be refused for its password */
	i_assert(class != REPLY_CLASS_CREDENTIAL ||
		 reply.step == REPLY_STEP_LOGIN);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	fuzz_init();
	T_BEGIN {
		fuzz_reply_class(fuzz_text(data, size));
	} T_END;
	return 0;
}
