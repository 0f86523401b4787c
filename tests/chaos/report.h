/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a run tells: a line every few seconds, and the end.
 */
#ifndef CHAOS_REPORT_H
#define CHAOS_REPORT_H

#include <jansson.h>

#include "chaos/ledger.h"

bool report_open(struct ledger *ledger, const char *directory);
/* Writes new notes to the log of the run, failures to standard error, too. */
void report_notes(void);
/* Takes what a proxy says of its connections into the sums. */
void report_status(uint32_t proxy, const json_t *status);
void report_progress(void);
void report_end(uint64_t ran_ms);
/* Messages checked so far. */
uint64_t report_checked(void);

#endif
