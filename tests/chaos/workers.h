/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The worker processes of a run, seen from the driver: started, stopped, killed, watched.
 */
#ifndef CHAOS_WORKERS_H
#define CHAOS_WORKERS_H

#include "chaos/ledger.h"

void workers_open(struct ledger *ledger, int ledger_fd, const char *build);
/* Starts who is due, wakes who was stopped long enough, takes notice of ends, looks for hangs. */
void workers_tick(void);
void workers_stop(uint32_t worker, uint64_t ms);
void workers_kill(uint32_t worker);
void workers_order(uint32_t worker, enum order order);
bool workers_running(uint32_t worker); /* and not stopped */
/* Wakes everybody; nobody is started again that ends with 0. */
void workers_wake(void);
/* All have ended. */
bool workers_ended(void);
void workers_close(void); /* kills what is left */
uint32_t workers_kills(void);
uint32_t workers_retries(void);

#endif
