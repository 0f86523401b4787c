/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asks a proxy's admin socket: one JSON object a line, one line an answer.
 */
#ifndef XY_CMD_ADMIN_H
#define XY_CMD_ADMIN_H

#include <jansson.h>
#include <stdint.h>

#include "cmd/options.h"

#define XY_ADMIN_DIR       "/run/xylem"
#define XY_ADMIN_PATH_SIZE 108 /* of sun_path */

/* Which proxy, and how long it may take. */
struct xy_admin_where {
	/* By options. */
	const char *instance, *admin;
	uint64_t timeout_ms;
	/* By xy_admin_locate(). */
	char path[XY_ADMIN_PATH_SIZE];
};

/* Rows of an option table, for a record `type` with a struct xy_admin_where `member`. */
#define XY_ADMIN_OPTIONS(type, member)                                            \
	{.name = "instance",                                                      \
	 .letter = 'i',                                                           \
	 .kind = XY_OPTION_TEXT,                                                  \
	 .argument = "NAME",                                                      \
	 .help = "which proxy; not needed when only one runs here",               \
	 .offset = offsetof(type, member.instance)},                              \
		{.name = "admin",                                                 \
		 .kind = XY_OPTION_TEXT,                                          \
		 .argument = "PATH",                                              \
		 .help = "admin socket, when it is not /run/xylem/NAME.sock",     \
		 .offset = offsetof(type, member.admin)},                         \
	{                                                                         \
		.name = "timeout", .letter = 't', .kind = XY_OPTION_DURATION,     \
		.argument = "DURATION", .help = "how long to wait for an answer", \
		.fallback = "5s", .offset = offsetof(type, member.timeout_ms)     \
	}

/* The socket of an instance; NULL = of the only one that runs here. 0; -ENOENT: none; -ENOTUNIQ:
 * several. `names` gets the instances found, separated by blanks. */
int xy_admin_find(const char *instance, char path[XY_ADMIN_PATH_SIZE], char *names, size_t size);
/* The socket's path. A status; what is wrong has been said. */
int xy_admin_locate(const struct xy_command *command, struct xy_admin_where *where);
/* Sends `{"request": REQUEST}` and reads the answer. 0 or -errno; -EBADMSG: not JSON. */
int xy_admin_ask(const struct xy_admin_where *where, const char *request, json_t **ret_answer);
/* Says what the error means; a status. */
int xy_admin_complain(const struct xy_command *command, const struct xy_admin_where *where,
		      int error);

#endif
