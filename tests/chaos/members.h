/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When a member of a queue group was not there, in numbers of each channel that feeds its group.
 *
 * A number that came to no member was lost with one, or given out while there was none:
 *
 *   LOST  a member's connection or life ended, or it left. What is above the newest number that it
 *         has got by then, and at most what had been given out when the proxy could give it nothing
 *         more: it had confirmed the UNSUBSCRIBE, or its status did not list that connection any
 *         more, or the process had ended.
 *   AWAY  each member was away: from its newest number to what had been given out when the proxy
 *         had confirmed its next subscription.
 *
 * Until a subscription that was asked for is confirmed, its member may be given something; if the
 * connection ends first, what is above the sender's SYNCED at that moment is lost with it.
 *
 * Written by the member, while it is dead by the driver. Each change is announced in `changes`
 * before, so that the driver can tell that what it read of the proxy is out of date.
 */
#ifndef CHAOS_MEMBERS_H
#define CHAOS_MEMBERS_H

#include <jansson.h>

#include "chaos/ledger.h"

/* ---- the member's; no-ops for whoever is none ------------------------------------------------ */

void member_away(struct ledger *ledger, uint32_t worker); /* or its connection ended again */
void member_left(struct ledger *ledger, uint32_t worker); /* so says the proxy */
void member_asks(struct ledger *ledger, uint32_t worker); /* is about to subscribe (again) */
void member_back(struct ledger *ledger, uint32_t worker); /* and that is confirmed */

/* ---- the driver's ---------------------------------------------------------------------------- */

/* Nobody has subscribed yet. */
void members_open(struct ledger *ledger);
/* Before the status of a proxy is read, and then. */
void members_look_before(struct ledger *ledger, uint32_t proxy);
void members_look(struct ledger *ledger, uint32_t proxy, const json_t *status);
/* The proxy's process has ended, and no other has been started. */
void members_proxy_ended(struct ledger *ledger, uint32_t proxy);

/* Of a number of the sender's life of this parity. */
bool members_lost(const struct ledger *ledger, const struct ring *ring, unsigned parity,
		  uint64_t number);
bool members_away(const struct ledger *ledger, const struct ring *ring, unsigned parity,
		  uint64_t number);

#endif
