/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Values of the options of `xylem serve`: whether they lie within what the options promise, and as
 * they would stand in a file.
 */
#ifndef TEST_FUZZ_RECORD_H
#define TEST_FUZZ_RECORD_H

#include <jansson.h>

#include "fuzz/fuzz.h"

#include "cmd/commands.h"

/* What the options of `serve` are written into. */
struct record {
	_Alignas(max_align_t) char bytes[2048];
};

static inline const void *value_of(const struct record *record, const struct xy_option *option)
{
	return record->bytes + option->offset;
}

static inline const char *text_in(const struct record *record, const struct xy_option *option)
{
	return *(const char *const *)value_of(record, option);
}

static inline void check_text(const struct xy_option *option, const char *text)
{
	char why[XY_OPTION_WHY_SIZE];

	if (option->check != NULL)
		fuzz_check(option->check(text, why) == 0);
}

static inline bool is_listed(const char *list, const char *word)
{
	char *copy = strdup(list), *rest, *item = strtok_r(copy, "|", &rest);
	bool found = false;

	for (; item != NULL; item = strtok_r(NULL, "|", &rest))
		found = found || strcmp(item, word) == 0;
	free(copy);
	return found;
}

static inline void check_value(const struct record *record, const struct xy_option *option)
{
	const struct xy_texts *texts = value_of(record, option);
	uint64_t number;

	switch (option->kind) {
	case XY_OPTION_TEXT:
		fuzz_check(*text_in(record, option) != '\0');
		check_text(option, text_in(record, option));
		break;
	case XY_OPTION_TEXTS:
		fuzz_check(texts->count >= 1 && texts->count <= XY_TEXTS_MAX);
		for (unsigned t = 0; t < texts->count; t++)
			check_text(option, texts->item[t]);
		break;
	case XY_OPTION_NUMBER:
	case XY_OPTION_DURATION:
	case XY_OPTION_SIZE:
		number = *(const uint64_t *)value_of(record, option);
		fuzz_check(number >= option->minimum);
		fuzz_check(option->maximum == 0 || number <= option->maximum);
		fuzz_check(option->kind != XY_OPTION_SIZE || number <= (uint64_t)1 << 53);
		break;
	case XY_OPTION_CHOICE:
		fuzz_check(is_listed(option->argument, text_in(record, option)));
		break;
	default:
		break;
	}
}

static inline json_t *written(const struct record *record, const struct xy_option *option)
{
	const struct xy_texts *texts = value_of(record, option);
	json_t *array;

	switch (option->kind) {
	case XY_OPTION_FLAG:
		return json_boolean(*(const bool *)value_of(record, option));
	case XY_OPTION_TEXTS:
		array = json_array();
		for (unsigned t = 0; t < texts->count; t++)
			json_array_append_new(array, json_string_nocheck(texts->item[t]));
		return array;
	case XY_OPTION_NUMBER:
	case XY_OPTION_SIZE:
		return json_integer(*(const json_int_t *)value_of(record, option));
	case XY_OPTION_DURATION:
		return json_sprintf("%lldms", *(const long long *)value_of(record, option));
	default:
		return json_string_nocheck(text_in(record, option));
	}
}

static inline bool is_same(const struct record *a, const struct record *b,
			   const struct xy_option *option)
{
	json_t *x = written(a, option), *y = written(b, option);
	bool same = json_equal(x, y) != 0;

	json_decref(x);
	json_decref(y);
	return same;
}

#endif
