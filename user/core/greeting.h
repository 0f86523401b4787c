/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Greetings: from an accepted socket to WELCOME and a worker, or to an ERROR.
 *
 * Reads HELLO and nothing beyond, within 5 s; checks it and the token; takes a peer and, where it
 * may have a lane, a slot. Whoever is refused is told why. The acceptor's thread; no step blocks.
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

#define XY_TOKENS_MAX 64

/* All greetings of an acceptor. */
struct xy_greetings {
	struct xy_core *core; /* set, as loop, before the first one */
	struct xy_loop *loop;
	struct xy_list list; /* private */
	uint32_t count;      /* private; at most max_connections */
	char *token[XY_TOKENS_MAX];
	unsigned tokens; /* 0: none is asked */
};

void xy_greetings_init(struct xy_greetings *greetings);
void xy_greetings_close(struct xy_greetings *greetings); /* before the loop is freed */
/* One token a line. -errno with a sentence in why. */
int xy_greetings_tokens(struct xy_greetings *greetings, const char *path, char *why,
			size_t why_size);

/* Takes over the descriptor. */
void xy_greeting_new(struct xy_greetings *greetings, int fd, bool is_unix,
		     const struct xy_address *peer);

#endif
