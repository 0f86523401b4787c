/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The timer wheel of a loop; private to user/io.
 *
 * Timers of one thread expire in the order of their due time, and those due at the same
 * millisecond in the order they were started. Start and stop are O(1).
 */
#ifndef XY_IO_TIMER_H
#define XY_IO_TIMER_H

#include "io/loop.h"

#define XY_WHEEL_BITS   6
#define XY_WHEEL_SLOTS  (1 << XY_WHEEL_BITS)
#define XY_WHEEL_LEVELS 8

/*
 * A timer sits at the level of the highest base-64 digit in which its due time and `time` differ,
 * in the slot of its own digit there. So every timer of a level is due before every timer of the
 * level above, slots never wrap, and a slot is spread over lower levels exactly when `time`
 * reaches its start.
 */
struct xy_wheel {
	uint64_t time;          /* everything due until then has been taken out */
	struct xy_timer *soon;  /* started when already due, last one first */
	struct xy_timer *batch; /* expiring now, first one first */
	/* Bit set: the slot may hold timers. A stop does not know its slot, so bits go stale. */
	uint64_t occupied[XY_WHEEL_LEVELS];
	struct xy_timer *slot[XY_WHEEL_LEVELS][XY_WHEEL_SLOTS]; /* last started first */
};

void xy_wheel_start(struct xy_wheel *wheel, struct xy_timer *timer, uint64_t due_ms);
/* Sets `batch` to what is due until now_ms; the caller unlinks and calls one after the other, so
 * that a callback can stop those behind it. */
void xy_wheel_expire(struct xy_wheel *wheel, uint64_t now_ms);
/* When xy_wheel_expire() has work next, at the latest; UINT64_MAX: no timer is active. */
uint64_t xy_wheel_next(struct xy_wheel *wheel);
/* Stops all timers. */
void xy_wheel_clear(struct xy_wheel *wheel);

#endif
