/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Deliveries: frames on their way from the connection that read them to their receivers.
 *
 * A worker collects what one read turn of one sender yields, per receiver, as chains of shared
 * slices: one copy of the bytes serves every receiver. At the end of the turn each receiver gets
 * its share in one piece, directly when it lives on the same worker, else by a task to its loop.
 * What is posted counts in the receiver's `pending`, and in its lane's `queued`, before the
 * sender's `barrier_done` moves.
 */
#ifndef XY_CORE_DELIVERY_H
#define XY_CORE_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/peer.h"
#include "proto/json.h"
#include <xylem/pipe.h>

struct xy_worker;
struct xy_connection;

/* What to do when the receiver's buffer is full. */
enum xy_delivery_policy {
	XY_DELIVER_BLOCK = XY_OVERFLOW_BLOCK,
	XY_DELIVER_DROP_OLDEST = XY_OVERFLOW_DROP_OLDEST,
	XY_DELIVER_DROP_NEWEST = XY_OVERFLOW_DROP_NEWEST,
	XY_DELIVER_DISCONNECT = XY_OVERFLOW_DISCONNECT,
	XY_DELIVER_DIRECT,
};

struct xy_delivery {
	struct xy_peer *peer;
	struct xy_chain chain;
	uint32_t frames;
	enum xy_delivery_policy policy;
	struct parcel *parcel; /* private: to carry it, when the receiver lives on another worker */
};

/* Of one turn. Arrays grow and stay. */
struct xy_deliveries {
	struct xy_delivery *list;
	uint32_t count, capacity;
	uint32_t shares;   /* xy_deliver() calls since the owner of this set it to 0 */
	uint32_t *of_peer; /* by peer number: index + 1 into list; 0 = none yet */
};

int xy_deliveries_init(struct xy_deliveries *deliveries, uint32_t peers);
void xy_deliveries_free(struct xy_deliveries *deliveries);

/* Room of a receiver, less what it gets of this turn. */
uint64_t xy_deliveries_room(const struct xy_deliveries *deliveries, const struct xy_peer *peer);
/* Adds `frames` whole frames, the next `length` bytes at the cursor, for one receiver. RCU read
 * section, until xy_deliver_flush(). -ENOMEM: the receiver does not get them. */
int xy_deliver(struct xy_worker *worker, struct xy_peer *receiver, enum xy_delivery_policy policy,
	       const struct xy_cursor *cursor, size_t length, uint32_t frames);
/* Hands everything on. Receivers that became crowded are reported to the sender's brake. */
void xy_deliver_flush(struct xy_worker *worker, struct xy_connection *sender);

#endif
