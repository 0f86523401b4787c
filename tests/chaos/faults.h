/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What goes wrong and when, drawn from the seed.
 */
#ifndef CHAOS_FAULTS_H
#define CHAOS_FAULTS_H

#include <stdio.h>

#include "chaos/ledger.h"

void faults_open(struct ledger *ledger);
void faults_tick(void);
/* How often which, in words. */
void faults_print(FILE *to);

#endif
