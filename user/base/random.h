/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unpredictable ids from the kernel's random generator.
 *
 * Endpoint ids are secrets until WELCOME is read (K24), so nothing weaker than getrandom() will do;
 * a thread fetches them in batches, because one system call per id would be felt at 100,000
 * connections.
 */
#ifndef XY_BASE_RANDOM_H
#define XY_BASE_RANDOM_H

#include <stdint.h>

/* A random number that is not zero. Any thread. A process that forks must not draw in both halves.
 * -errno of getrandom(). */
int xy_random_id(uint64_t *ret_id);

#endif
