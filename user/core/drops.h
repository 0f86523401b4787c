/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages of which something was dropped: what must be known of them so that they go whole and are
 * counted once.
 *
 * A frame is a message, and so are all fragments of one message together; a bundle is one, because
 * payloads are not looked into. A source has at most one unfinished message towards a receiver.
 *
 * There are two places where policies drop, each with a table that belongs to one worker: at the
 * receiver, whose buffer is full (overflow.c; the key is the source), and at a sender on another
 * loop, because too much is on its way (delivery.c; the key is the receiver).
 */
#ifndef XY_CORE_DROPS_H
#define XY_CORE_DROPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/delivery.h"
#include "core/peer.h"
#include "proto/frame.h"
#include <xylem/pipe.h>

struct xy_router;
struct xy_worker;

/* A message of which a part was dropped. */
struct xy_drop {
	uint64_t key, target, sequence;
	enum xy_delivery_policy policy;
};

/* Those whose rest is still to come. Zero-initialise; `list` is to be freed. */
struct xy_drops {
	struct xy_drop *list;
	uint32_t count, capacity, evict;
	uint32_t untidy; /* so many, and it is time to look for those that are over */
};

bool xy_drop_has(const struct xy_drop *drop, const struct xy_frame *frame); /* of that source */

struct xy_drop *xy_drops_find(const struct xy_drops *drops, uint64_t key);
void xy_drops_put(struct xy_drops *drops, const struct xy_drop *drop);
/* This frame is dropped: unless it is the last of its message, the rest of that is to follow. */
void xy_drops_begin(struct xy_drops *drops, uint64_t key, const struct xy_frame *frame,
		    enum xy_delivery_policy policy);
/* Whether this frame goes on with a message that is being dropped. Any other ends that message. */
bool xy_drops_follow(struct xy_drops *drops, uint64_t key, const struct xy_frame *frame,
		     enum xy_delivery_policy *ret_policy);

/* Now and then: forgets those whose key is an endpoint that is gone. Any worker. */
void xy_drops_tidy(struct xy_drops *drops, const struct xy_router *router);

/* What was dropped, not counted yet. */
struct xy_tally {
	size_t bytes;
	uint32_t frames, messages[XY_POLICIES], frames_by[XY_POLICIES];
};

void xy_tally_frame(struct xy_tally *tally, const struct xy_frame *frame,
		    enum xy_delivery_policy policy);
/* Into the counters, the peer's, and the log. Any worker. */
void xy_tally_count(struct xy_worker *worker, struct xy_peer *peer, const struct xy_tally *tally);

struct xy_front {
	struct xy_tally tally;
	/* The first frame went on with this message, of which nothing had been dropped. It is not
	 * in `messages`; what came before it may be held. */
	bool begun;
	struct xy_drop message; /* its key is the source */
};

/* Drops frames at the front of a chain of one source's: those that go on with what is being
 * dropped; with `all` every one. Needs no memory. */
struct xy_front xy_drops_front(struct xy_drops *drops, uint64_t key, struct xy_chain *chain,
			       struct xy_pool *pool, enum xy_delivery_policy policy, bool all);

#endif
