/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Server and admin socket together: what `xylem serve` runs, in the foreground, until a signal.
 */
#ifndef XY_EDGE_SERVE_H
#define XY_EDGE_SERVE_H

#include "core/server.h"

enum xy_exit xy_serve(const struct xy_server_options *options);

#endif
