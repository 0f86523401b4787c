/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/access.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "cmd/file.h"
#include "proto/json.h"

#define FILE_MAX    (4u << 20)
#define TOKEN_MIN   16 /* bytes: less can be guessed */
#define HASH_PREFIX "sha256:"
#define SPACE       " \t\r"

/* "sha256:" and 64 hexadecimal digits. */
static bool digest_read(const char *text, uint8_t digest[XY_DIGEST_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	text += strlen(HASH_PREFIX);
	if (strspn(text, digits) != 2 * XY_DIGEST_SIZE || text[2 * XY_DIGEST_SIZE])
		return false;
	for (size_t i = 0; i < XY_DIGEST_SIZE; i++)
		digest[i] = (uint8_t)((strchr(digits, text[2 * i]) - digits) << 4 |
				      (strchr(digits, text[2 * i + 1]) - digits));
	return true;
}

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

/* NULL, or why it is none. */
static const char *token_digest(const char *text, uint8_t digest[XY_DIGEST_SIZE])
{
	size_t length = strlen(text);

	if (!strncmp(text, HASH_PREFIX, strlen(HASH_PREFIX)))
		return digest_read(text, digest)
			       ? NULL
			       : "after sha256: come 64 lower-case hexadecimal digits";
	if (length < TOKEN_MIN)
		return "a token has at least 16 bytes; make one with: openssl rand -hex 24";
	if (length > XY_TOKEN_MAX)
		return "a token has at most 512 bytes";
	if (!is_printable(text))
		return "a token is printable ASCII";
	return xy_digest(text, length, digest) ? "out of memory" : NULL;
}

static const char *add_failed(int error, const char *why)
{
	return error == -EINVAL   ? why
	       : error == -EEXIST ? "this token stands in the file twice"
	       : error == -E2BIG  ? "more than 4096 tokens"
				  : "out of memory";
}

/* NULL, or what is wrong with the line. */
static const char *line_take(struct xy_access *access, char *line, bool *named)
{
	char *rest, *first = strtok_r(line, SPACE, &rest), *token = strtok_r(NULL, SPACE, &rest);
	uint8_t digest[XY_DIGEST_SIZE];
	const char *why;
	int error;

	if (!first || *first == '#')
		return NULL;
	if (token && strtok_r(NULL, SPACE, &rest))
		return "a line is: NAME TOKEN, or NAME sha256:DIGEST, or a token alone";
	*named = *named || token;
	why = token_digest(token ? token : first, digest);
	if (why)
		return why;
	error = xy_access_token(access, token ? first : XY_IDENTITY_DEFAULT, digest, &why);
	return error ? add_failed(error, why) : NULL;
}

void xy_access_read_tokens(struct xy_access *access, const char *path, bool *ret_named,
			   struct xy_complaints *complaints)
{
	size_t length;
	char *text = xy_file_read(path, XY_FILE_SECRET, FILE_MAX, &length, complaints);
	unsigned before = complaints->count, number = 0;
	char *next = text;

	if (!text)
		return;
	if (memchr(text, 0, length))
		xy_complain(complaints, "%s: not a text", path);
	else
		for (char *line; (line = strsep(&next, "\n"));) {
			const char *why = line_take(access, line, ret_named);

			number++;
			if (why)
				xy_complain(complaints, "%s:%u: %s", path, number, why);
		}
	if (complaints->count == before && !xy_access_tokens(access))
		xy_complain(complaints, "%s: holds no token", path);
	explicit_bzero(text, length);
	free(text);
}
