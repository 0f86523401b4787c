/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The proxies of a chaos run: started, stopped, killed, asked for their status. The driver's.
 */
#ifndef CHAOS_PROXIES_H
#define CHAOS_PROXIES_H

#include <jansson.h>

#include "chaos/ledger.h"

/* Addresses, names, logs in `directory`; starts both and waits until they answer. */
int proxies_open(struct ledger *ledger, const char *directory, const char *binary);
/* Takes notice of ends; starts again what was stopped or killed. */
void proxies_tick(void);
bool proxies_up(uint32_t proxy);
void proxies_term(uint32_t proxy);
void proxies_kill(uint32_t proxy);
/* NULL when it is not up, or does not answer (which fails the run). */
json_t *proxies_status(uint32_t proxy);
/* Most memory that it ever had resident, over all its lives, in KiB. */
uint64_t proxies_rss(uint32_t proxy);
unsigned proxies_descriptors(uint32_t proxy);
/* SIGTERM; waits; fails the run unless it ends with 0. */
void proxies_end(uint32_t proxy);
const char *proxies_log(uint32_t proxy);
uint32_t proxies_terms(void);
uint32_t proxies_kills(void);

#endif
