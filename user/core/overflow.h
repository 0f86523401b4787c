/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a policy drops when a receiver's buffer is full: whole messages, counted.
 *
 * When a fragment is dropped, what is still held of its message goes with it, and what comes later
 * of it is dropped on arrival; drops.h says what a message is. All on the worker's thread.
 */
#ifndef XY_CORE_OVERFLOW_H
#define XY_CORE_OVERFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/drops.h"

struct xy_connection;

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
};

/* Takes from what has come for a receiver, and from what is held for it, what must be dropped.
 * False: nothing is left of the chain, or the connection was closed; the chain is empty then. */
bool xy_overflow_admit(struct xy_connection *connection, const struct xy_peer *sender,
		       struct xy_chain *chain, uint32_t *frames, enum xy_delivery_policy policy);
/* The rest of this message was dropped before it was posted to this loop: what is held of it goes,
 * too, and unless it was counted here, it is. Its key is the source. The peer may be closed. */
void xy_overflow_cut(struct xy_peer *peer, const struct xy_drop *message);
/* Something was dropped for a subscription that says `disconnect`. */
void xy_overflow_disconnect(struct xy_connection *connection, const char *why);
/* What was admitted has been appended / has left from the front, or all of it. */
void xy_overflow_kept(struct xy_connection *connection, size_t bytes,
		      enum xy_delivery_policy policy);
void xy_overflow_left(struct xy_connection *connection, size_t bytes);
void xy_overflow_free(struct xy_connection *connection);

#endif
