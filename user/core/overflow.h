/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a policy drops when a receiver's buffer is full: whole messages, counted.
 *
 * A frame is a message, and so are all fragments of one message together; a bundle is one, because
 * payloads are not looked into. When a fragment is dropped, what is still held of its message goes
 * with it, and what comes later of it is dropped on arrival. All on the worker's thread.
 */
#ifndef XY_CORE_OVERFLOW_H
#define XY_CORE_OVERFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/delivery.h"

struct xy_connection;

#define XY_POLICIES 4 /* of subscriptions */

/* A message of which a part was dropped. A source has at most one at a time. */
struct xy_drop {
	uint64_t source, target, sequence;
	enum xy_delivery_policy policy;
};

struct xy_drops {
	struct xy_drop *list;
	uint32_t count, capacity, evict;
};

/* Neighbouring bytes of `data` that drop-oldest may drop (loose), or that no policy may. */
struct xy_stretch {
	size_t bytes;
	bool loose;
};

struct xy_stretches {
	struct xy_stretch *list;
	uint32_t first, count, capacity;
};

/* Of a connection; there from its first drop, or its first DATA under drop-oldest, on. */
struct xy_dropping {
	struct xy_drops drops;
	struct xy_stretches held; /* of all of `data`, while some of it is loose */
	uint64_t frames[XY_POLICIES], messages[XY_POLICIES];
	uint64_t dropped_ms; /* of the last drop */
};

/* Takes from what has come for a receiver, and from what is held for it, what must be dropped.
 * False: nothing is left of the chain, or the connection was closed; the chain is empty then. */
bool xy_overflow_admit(struct xy_connection *connection, const struct xy_peer *sender,
		       struct xy_chain *chain, uint32_t *frames, enum xy_delivery_policy policy);
/* What was admitted has been appended / has left from the front, or all of it. */
void xy_overflow_kept(struct xy_connection *connection, size_t bytes,
		      enum xy_delivery_policy policy);
void xy_overflow_left(struct xy_connection *connection, size_t bytes);
void xy_overflow_free(struct xy_connection *connection);

uint64_t xy_overflow_frames(const struct xy_connection *connection); /* dropped in all */

#endif
