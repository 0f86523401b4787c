/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asks a proxy's admin socket: one JSON object a line, one line an answer.
 */
#ifndef XY_CMD_ADMIN_H
#define XY_CMD_ADMIN_H

#include <jansson.h>
#include <stddef.h>

#define XY_ADMIN_DIR       "/run/xylem"
#define XY_ADMIN_PATH_SIZE 108 /* of sun_path */

/* The socket of an instance; NULL = of the only one that runs here. 0; -ENOENT: none; -ENOTUNIQ:
 * several. `names` gets the instances found, separated by blanks. */
int xy_admin_find(const char *instance, char path[XY_ADMIN_PATH_SIZE], char *names, size_t size);

/* Sends `{"request": REQUEST}` and reads the answer, both within timeout_ms. 0 or -errno;
 * -EBADMSG: not JSON. */
int xy_admin_ask(const char *path, const char *request, int timeout_ms, json_t **ret_answer);

#endif
