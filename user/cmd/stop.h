/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SIGINT and SIGTERM as a wish: the first one is a flag and a readable descriptor, the second one
 * kills, so that a command can finish in order and can always be ended.
 *
 * Also ignores SIGPIPE: whoever writes sees EPIPE.
 */
#ifndef XY_CMD_STOP_H
#define XY_CMD_STOP_H

#include <stdbool.h>

int xy_stop_install(void); /* once, before anything blocks; 0 or -errno */
bool xy_stop_wanted(void);
int xy_stop_fd(void); /* readable for good once wanted */

#endif
