/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the router tells the worker that owns a connection. Each call posts a task to the peer's
 * loop and returns; the router's thread only, in the order that matters to it.
 */
#ifndef XY_CORE_NOTIFY_H
#define XY_CORE_NOTIFY_H

#include <stdint.h>

#include "core/peer.h"

/* DATA of this topic may come from now on. Counted in the lane's `queued` before the call returns,
 * so that no redirect overtakes the BINDING. -ENOMEM: the peer must not become a receiver. */
int xy_notify_binding(struct xy_peer *receiver, uint64_t topic, const char *subject);
/* The flow to this target was evicted: it may be asked for again. */
void xy_notify_flow_gone(struct xy_peer *sender, uint64_t target);
/* A receiver that this sender feeds is at 3/4 of its window. */
void xy_notify_brake(struct xy_peer *sender);
/* The lane crossed half of its window: a proof of reading is due. */
void xy_notify_prove(struct xy_peer *receiver);
/* A lane has consumed nothing for a while: is its credit right? Any thread. */
void xy_notify_right(struct xy_peer *receiver);
/* No progress while somebody waited: close it with slow-consumer. Any thread. */
void xy_notify_slow(struct xy_peer *receiver);
/* What it authenticated by holds no more: close it with unauthorized. */
void xy_notify_revoked(struct xy_peer *peer);
/* It has lost this subscription. */
void xy_notify_unsubscribed(struct xy_peer *receiver, uint64_t subscription);
/* DATA of this sender met a receiver that has been told GOODBYE. Any thread. */
void xy_notify_too_late(struct xy_peer *sender);
/* Somebody made room: workers whose publishers wait should look again. Any thread. */
void xy_notify_room(struct xy_peer *receiver);

#endif
