/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A configuration file: one JSON object, and for each complaint about it the line that it is about.
 *
 * A member whose name begins with `#` is a comment, at every level. A member given twice is an
 * error. jansson parses; it does not tell where a value stood, so that complaints look for it in
 * the text, which is known to be valid by then. One thread.
 */
#ifndef XY_CMD_CONFIG_H
#define XY_CMD_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "cmd/complaints.h"

#define XY_CONFIG_MAX (1u << 20) /* bytes of a file */

struct xy_config;

/* NULL, and one complaint: it cannot be read, is no JSON object, or others than its owner and group
 * may write to it. */
struct xy_config *xy_config_load(const char *path, struct xy_complaints *complaints);
void xy_config_free(struct xy_config *config); /* NULL is fine */
const json_t *xy_config_root(const struct xy_config *config);

/* A member or an element on the way from the root (NULL) down. */
struct xy_place {
	const struct xy_place *in;
	const char *key; /* NULL: an element of an array … */
	size_t index;    /* … this one */
};

/* "FILE:LINE: a.b[2]: …" */
void xy_config_complain(const struct xy_config *config, const struct xy_place *place,
			struct xy_complaints *complaints, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static inline bool xy_config_is_comment(const char *key)
{
	return key[0] == '#';
}

#endif
