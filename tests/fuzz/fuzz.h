#ifndef IMAPSYNC_FUZZ_H
#define IMAPSYNC_FUZZ_H

/* A fuzz target defines this (libFuzzer's entry) and calls fuzz_init() first.
   With clang -fsanitize=fuzzer it stands alone; linked with fuzz-main.c it
   replays files instead. A finding is an assertion or a sanitizer's report. */
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static inline void fuzz_init(void)
{
	if (!lib_is_initialized())
		lib_init();
}

/* The input as a string that ends where its first NUL is. */
static inline const char *fuzz_text(const unsigned char *data, size_t size)
{
	return t_strndup(data, size);
}

#endif
