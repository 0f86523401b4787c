/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/*
 * A file that holds one token, as clients have it.
 */
#ifndef XY_CLIENT_TOKEN_H
#define XY_CLIENT_TOKEN_H

#include "proto/json.h"

/* The file's text without newlines at its end. -EBADMSG: that is not 1 … XY_TOKEN_MAX bytes without
 * a newline or a zero, or the file is longer than the longest token and "\r\n"; other -errno. Any
 * thread. */
int xy_token_read(const char *path, char ret_token[XY_TOKEN_MAX + 1]);

#endif
