/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the fuzzers share. A fuzzer is tests/fuzz/test_NAME.c: one LLVMFuzzerTestOneInput(), which
 * aborts when the product is wrong. `make fuzz` builds it with libFuzzer and lets it explore;
 * `make check` builds it with replay.c, which gives it every file of tests/fuzz/corpus/NAME.
 *
 * Fuzzers keep nothing from one input to the next that an input could see.
 */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_check(condition)                                                                  \
	do {                                                                                   \
		if (!(condition)) {                                                            \
			fprintf(stderr, "%s:%d: wrong: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                               \
		}                                                                              \
	} while (0)

/* What is left of an input. What is taken beyond its end is zeros. */
struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

static inline uint64_t fuzz_take(struct fuzz_input *input, size_t bytes)
{
	uint64_t value = 0;

	for (; bytes > 0; bytes--) {
		value <<= 8;
		if (input->size == 0)
			continue;
		value |= *input->data++;
		input->size--;
	}
	return value;
}

/* The bytes up to the next newline, which is taken too; up to the end without one. */
static inline struct fuzz_input fuzz_take_line(struct fuzz_input *input)
{
	struct fuzz_input line = {input->data, input->size};
	const uint8_t *end = input->size > 0 ? memchr(input->data, '\n', input->size) : NULL;

	if (end == NULL) {
		input->size = 0;
		return line;
	}
	line.size = (size_t)(end - line.data);
	input->data = end + 1;
	input->size -= line.size + 1;
	return line;
}

/* In memory of exactly its size, so that a sanitizer sees every byte read beyond it. */
static inline void *fuzz_copy(const void *data, size_t size)
{
	void *copy = malloc(size > 0 ? size : 1);

	fuzz_check(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}

static inline char *fuzz_text(struct fuzz_input input)
{
	char *text = malloc(input.size + 1);

	fuzz_check(text != NULL);
	if (input.size > 0)
		memcpy(text, input.data, input.size);
	text[input.size] = '\0';
	return text;
}

#endif
