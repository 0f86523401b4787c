/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Greetings: from an accepted socket to WELCOME and a worker, or to an ERROR.
 *
 * Shakes hands, where TLS is asked for, reads HELLO and nothing beyond, both within 5 s; finds out
 * who says it; takes a peer and, where it may have a lane, a slot. Whoever is refused is told why.
 * The acceptor's thread; no step blocks. Handshakes cost up to milliseconds each: they wait in a
 * queue, and a turn takes some of them.
 */
#ifndef XY_CORE_GREETING_H
#define XY_CORE_GREETING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "core/core.h"
#include "io/loop.h"
#include "io/net.h"

/* All greetings of an acceptor. */
struct xy_greetings {
	struct xy_core *core; /* set, as loop, before the first one */
	struct xy_loop *loop;
	struct xy_list list;    /* private */
	struct xy_list shaking; /* handshakes with a step to do; for xy_handshakes_turn() */
	uint32_t count;         /* private; at most max_connections */
};

void xy_greetings_init(struct xy_greetings *greetings);
void xy_greetings_close(struct xy_greetings *greetings); /* before the loop is freed */

/* Takes over the descriptor. */
void xy_greeting_new(struct xy_greetings *greetings, int fd, enum xy_reach reach, bool tls,
		     const struct xy_address *peer);

#endif
