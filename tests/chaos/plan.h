/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who there is, who sends what to whom: fixed in its outline, in its details drawn from the seed.
 */
#ifndef CHAOS_PLAN_H
#define CHAOS_PLAN_H

#include "chaos/ledger.h"

/* Fills in workers, rings and groups; both proxies get the same. `rate` is what all receivers are
 * to get together, messages a second, about. */
void plan_make(struct ledger *ledger, uint32_t rate);

#endif
