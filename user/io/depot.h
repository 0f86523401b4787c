/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/*
 * Free segments on their way from threads that release more than they rent to those that rent more
 * than they release. Without it each segment of a stream that is read by one loop and sent by
 * another would be mapped, touched for the first time, and unmapped.
 *
 * Pools of several threads share a depot; all have the same segment size. Any thread, but for new
 * and free.
 */
#ifndef XY_IO_DEPOT_H
#define XY_IO_DEPOT_H

#include <stdbool.h>
#include <stdint.h>

#include <xylem/pipe.h>

struct xy_depot;

/* Segments that it holds at most, and the time at least for which one has lain unused before
 * xy_pool_shrink() of any of the pools frees it. NULL with errno. */
struct xy_depot *xy_depot_new(uint32_t most, uint32_t period_ms);
/* When the pools are freed. NULL is fine. */
void xy_depot_free(struct xy_depot *depot);
/* From now on the pool keeps few segments to itself. The pool's thread. NULL is fine. */
void xy_pool_share(struct xy_pool *pool, struct xy_depot *depot);
uint32_t xy_depot_count(const struct xy_depot *depot); /* NULL: none */

#endif
