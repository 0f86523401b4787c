/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a proxy one of whose loops may be stuck for ever: it cannot be joined, and nothing it
 * owns can be closed. So what is outside of the process is cleaned up and the process ends, with
 * status 1, when a loop has made no round for XY_STUCK_END_MS while the proxy wants to stop.
 */
#ifndef XY_EDGE_ENDING_H
#define XY_EDGE_ENDING_H

#include "core/server.h"
#include "edge/admin.h"
#include "edge/sweeper.h"

#define XY_STUCK_END_MS 5000

struct xy_ending;

/* Watches from here on, in a thread of its own. NULL: there is no memory, or no thread, for it. */
struct xy_ending *xy_ending_begin(struct xy_server *server, struct xy_admin *admin,
				  struct xy_sweeper *sweeper);
void xy_ending_over(struct xy_ending *ending); /* all threads are joined; NULL is fine */

#endif
