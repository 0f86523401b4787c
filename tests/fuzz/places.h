/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A second account of where things stand in a JSON text: one walk over all of it, which counts
 * lines as it goes.
 */
#ifndef TEST_FUZZ_PLACES_H
#define TEST_FUZZ_PLACES_H

#include <ctype.h>
#include <jansson.h>

#include "fuzz/fuzz.h"

#define PLACES_MAX      4096
#define PLACE_TEXT_SIZE 512 /* of longer ones the beginning is told */

struct places {
	const char *at;
	unsigned line, count;
	struct {
		char *text;
		unsigned line;
	} place[PLACES_MAX];
};

static inline void places_skip(struct places *places, const char *characters)
{
	while (*places->at != '\0' && strchr(characters, *places->at) != NULL)
		places->line += *places->at++ == '\n';
}

static inline json_t *places_string(struct places *places)
{
	const char *start = places->at++;

	while (*places->at != '"')
		places->at += *places->at == '\\' ? 2 : 1;
	places->at++;
	return json_loadb(start, (size_t)(places->at - start), JSON_DECODE_ANY, NULL);
}

static inline char *places_text(const char *in, const char *key, size_t index)
{
	char *text = NULL;
	int length;

	length = key != NULL ? asprintf(&text, "%s%s%s", in, *in != '\0' ? "." : "", key)
			     : asprintf(&text, "%s[%zu]", in, index);
	fuzz_check(length >= 0);
	if (length >= PLACE_TEXT_SIZE)
		text[PLACE_TEXT_SIZE - 1] = '\0';
	return text;
}

/* Blanks, and what stands between values. */
#define PLACES_BETWEEN " \t\r\n,"

static inline void places_value(struct places *places, const char *in)
{
	char close = *places->at == '{' ? '}' : ']';
	json_t *string = NULL;

	if (*places->at == '"') {
		json_decref(places_string(places));
		return;
	}
	if (*places->at != '{' && *places->at != '[') {
		places->at += strcspn(places->at, PLACES_BETWEEN "]}");
		return;
	}
	places->at++;
	places_skip(places, PLACES_BETWEEN);
	for (size_t index = 0; *places->at != close; index++) {
		unsigned mine = places->count++;

		fuzz_check(mine < PLACES_MAX);
		places->place[mine].line = places->line;
		if (close == '}') {
			string = places_string(places);
			places_skip(places, " \t\r\n:");
		}
		places->place[mine].text =
			places_text(in, close == '}' ? json_string_value(string) : NULL, index);
		json_decref(string);
		string = NULL;
		places_value(places, places->place[mine].text);
		places_skip(places, PLACES_BETWEEN);
	}
	places->at++;
}

/* Of a text that is known to be valid. */
static inline void places_find(struct places *places, const char *text)
{
	places->at = text;
	places->line = 1;
	places->count = 0;
	places_skip(places, PLACES_BETWEEN);
	places_value(places, "");
}

static inline void places_free(struct places *places)
{
	for (unsigned p = 0; p < places->count; p++)
		free(places->place[p].text);
}

/* Whether something stands in this line whose place is what the sentence begins with; the place of
 * a member without a name is empty. */
static inline bool places_hold(const struct places *places, unsigned line, const char *sentence)
{
	for (unsigned p = 0; p < places->count; p++) {
		size_t length = strlen(places->place[p].text);

		if (places->place[p].line == line &&
		    strncmp(sentence, places->place[p].text, length) == 0 &&
		    (length == 0 || strncmp(sentence + length, ": ", 2) == 0))
			return true;
	}
	return false;
}

#endif
