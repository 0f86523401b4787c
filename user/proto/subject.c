/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/subject.h"

#include <errno.h>
#include <string.h>

#include <xylem/wire.h>

#include "proto/utf8.h"

/* Unicode's White_Space and Cc, so that a subject can stand in a log line or a table as it is. */
static bool is_space_or_control(uint32_t c)
{
	return c <= 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
	       c == 0x205f || c == 0x3000;
}

static const char *check_characters(const char *text, size_t length)
{
	for (size_t at = 0; at < length;) {
		uint32_t character;
		size_t size = xy_utf8_decode(text + at, length - at, &character);

		if (size == 0)
			return "a subject is valid UTF-8";
		if (is_space_or_control(character))
			return "a subject has no white space and no control characters";
		at += size;
	}
	return NULL;
}

static const char *check_tokens(const char *text, size_t length, bool wildcards)
{
	const char *end = text + length;

	for (const char *token = text;; token++) {
		const char *dot = memchr(token, '.', (size_t)(end - token));
		const char *stop = dot != NULL ? dot : end;

		if (stop == token)
			return "a subject has no empty token";
		if (stop - token == 1 && (*token == '*' || *token == '>')) {
			if (!wildcards)
				return "a token that is * or > stands in subscriptions only";
			if (*token == '>' && dot != NULL)
				return "the token > stands at the end only";
		}
		if (dot == NULL)
			return NULL;
		token = dot;
	}
}

static int check(const char *text, size_t length, bool wildcards, const char **ret_why)
{
	const char *why;

	if (length == 0)
		why = "a subject is not empty";
	else if (length > XY_SUBJECT_MAX)
		why = "a subject has at most 255 bytes";
	else
		why = check_characters(text, length);
	if (why == NULL)
		why = check_tokens(text, length, wildcards);
	if (why == NULL)
		return 0;
	if (ret_why != NULL)
		*ret_why = why;
	return -EINVAL;
}

int xy_subject_check(const char *subject, size_t length, const char **ret_why)
{
	return check(subject, length, false, ret_why);
}

int xy_pattern_check(const char *pattern, size_t length, const char **ret_why)
{
	return check(pattern, length, true, ret_why);
}

bool xy_pattern_match(const char *pattern, const char *subject)
{
	for (;;) {
		size_t p = strcspn(pattern, "."), s = strcspn(subject, ".");

		if (p == 1 && pattern[0] == '>')
			return true;
		if (!(p == 1 && pattern[0] == '*') && (p != s || memcmp(pattern, subject, p) != 0))
			return false;
		pattern += p;
		subject += s;
		if (*pattern == '\0' || *subject == '\0')
			return *pattern == *subject;
		pattern++;
		subject++;
	}
}

/* Of two tokens, each cut from its pattern. */
static bool token_is(const char *token, size_t length, char wildcard)
{
	return length == 1 && *token == wildcard;
}

static bool token_equal(const char *a, size_t a_length, const char *b, size_t b_length)
{
	return a_length == b_length && memcmp(a, b, a_length) == 0;
}

/* To the next token of both. False: one of them has ended; *ret_both: the other one, too. */
static bool tokens_next(const char **a, size_t a_length, const char **b, size_t b_length,
			bool *ret_both)
{
	*a += a_length;
	*b += b_length;
	if (**a == '\0' || **b == '\0') {
		*ret_both = **a == **b;
		return false;
	}
	(*a)++;
	(*b)++;
	return true;
}

bool xy_pattern_covers(const char *outer, const char *inner)
{
	size_t o, i;
	bool both;

	do {
		o = strcspn(outer, ".");
		i = strcspn(inner, ".");
		if (token_is(outer, o, '>'))
			return true;
		/* One or more tokens: no single one covers that. */
		if (token_is(inner, i, '>'))
			return false;
		if (!token_is(outer, o, '*') && !token_equal(outer, o, inner, i))
			return false;
	} while (tokens_next(&outer, o, &inner, i, &both));
	return both;
}

bool xy_pattern_overlaps(const char *a, const char *b)
{
	size_t x, y;
	bool both;

	do {
		x = strcspn(a, ".");
		y = strcspn(b, ".");
		if (token_is(a, x, '>') || token_is(b, y, '>'))
			return true;
		if (!token_is(a, x, '*') && !token_is(b, y, '*') && !token_equal(a, x, b, y))
			return false;
	} while (tokens_next(&a, x, &b, y, &both));
	return both;
}
