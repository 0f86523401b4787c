/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A receiver's account of every message: whole, from whom it says, subscribed to, in order, once,
 * and what is missing. Used by all kinds of workers; knows nothing of the library.
 *
 * A message is checked for itself (payload, AUTHENTIC source, subject of the channel, a
 * subscription that matches). Per (connection of the sender, channel) its number must be above the
 * one before: equal is DUPLICATED, below REORDERED. A number seen by one connection of a life must
 * not come again by the next one: DUPLICATED.
 *
 * What is missing between two numbers of a stream must have one of these causes, in this order;
 * each is bounded by numbers or counts that its author wrote down. Anything else is UNACCOUNTED.
 *
 *  BEFORE  up to `floor`: given out by the sender before the receiver's subscription was confirmed.
 *          The floor is read at each (re)connection and each subscription that brings a channel
 *          anew; in a life of the sender that begins later it is 0.
 *  ENDED   within (from, to] of one of the sender's losses: `from` is what the proxy had SYNCED
 * when a connection of the sender ended, `to` what the sender had given out when it was back.
 *  POLICY  the receiver's subscription says drop-newest, drop-oldest: judge.c holds the sum against
 *          `dropped` of the proxy for this connection.
 *  OPEN    of the rest, the sum over a life of the sender must not exceed what its library says it
 *          lost in failed sends, and of DATA to endpoints, plus the ERRORs it was answered with.
 *          judge.c compares, a while later, because the sender may learn it after the receiver.
 *
 * Members of a queue group see gaps by nature. Each writes what it got into the ring of the group;
 * judge.c looks whether each number that is SYNCED was written once (see there).
 *
 * The tail: what a sender has SYNCED must arrive, at the end of the run and at the end of a life of
 * the sender, unless floor or loss cover it (judge.c).
 *
 * One thread.
 */
#ifndef CHAOS_ACCOUNT_H
#define CHAOS_ACCOUNT_H

#include "chaos/ledger.h"
#include "chaos/message.h"

struct account;

struct account *account_open(struct ledger *ledger, uint32_t worker);
/* All subscriptions are confirmed on a (new) connection, on this endpoint. */
void account_connected(struct account *account);
/* A subscription of the plan was confirmed; is about to be given back. */
void account_subscribed(struct account *account, uint32_t subscription);
void account_unsubscribing(struct account *account, uint32_t subscription);
/* A message to a topic ("" = to this endpoint). True when nothing is wrong with it; then *ret_stamp
 * tells what it is. */
bool account_take(struct account *account, const char *subject, uint64_t source, uint64_t sequence,
		  const void *data, size_t length, struct stamp *ret_stamp);

/* How many of (from, to] lie in losses of the sender (ENDED). */
uint64_t account_ended(const struct channel_state *state, uint64_t from, uint64_t to);

/* ---- what a sender writes down --------------------------------------------------------------- */

void sender_begin(struct ledger *ledger, uint32_t worker, uint32_t life);
/* This endpoint is ours, from now on; before anything is sent by it. */
void sender_endpoint(struct ledger *ledger, uint32_t worker, uint64_t endpoint);
void sender_ended(struct ledger *ledger, uint32_t worker); /* a connection */
/* As above, and it is not connected any more; `words` say why. The run fails unless there is a
 * cause: its proxy was stopped; a fault was injected; it was slow and is told so, by plan or by a
 * nap; or it has little memory, in which even the ERROR may find no room. */
void connection_ended(struct ledger *ledger, uint32_t worker, const char *words);
/* Is stopped, or was until a moment ago. */
bool proxy_was_down(const struct ledger *ledger, uint32_t proxy, uint64_t now_ms);
void sender_back(struct ledger *ledger, uint32_t worker);
/* The number of the next message; it is given out. */
struct stamp sender_next(struct ledger *ledger, uint32_t worker, uint32_t channel);
/* It was not sent, after all, nor anything since. */
void sender_undo(struct ledger *ledger, uint32_t worker, uint32_t channel);
/* All that was given out before `queued` was read is handed on. */
void sender_synced(struct ledger *ledger, uint32_t worker, const uint64_t queued[CHANNELS_MAX]);
void sender_queued(struct ledger *ledger, uint32_t worker, uint64_t ret_queued[CHANNELS_MAX]);

#endif
