/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fewer wake-ups for one that is woken for each of many small messages.
 *
 * A wake-up costs its sender more than all else about a small message. So one that is woken often
 * should sleep for a moment before it waits again, as network cards hold interrupts back: what
 * comes meanwhile wakes nobody, and is taken in one piece. This decides when, by counters that its
 * user has anyway. It begins when there are many wake-ups, and goes on while several messages come
 * for each moment slept, as they will where wake-ups were what held the sender up; where they were
 * not it tries again after a while, which doubles. One that also sends is let alone: somebody may
 * be waiting for what it answers; and so is one that gets so many bytes that wake-ups do not matter
 * and buffers might fill meanwhile.
 *
 * One thread.
 */
#ifndef XY_BASE_MODERATE_H
#define XY_BASE_MODERATE_H

#include <stdbool.h>
#include <stdint.h>

#define XY_MODERATE_NS 40000 /* the moment */

/* Since ever: how often it was woken, what it has got, and what it has sent. */
struct xy_traffic {
	uint64_t wakes, messages, bytes, sent;
};

/* Zero-initialise. */
struct xy_moderator {
	struct xy_traffic before; /* private, all of it */
	uint64_t since_ns;
	uint16_t pause, pauses;
	bool on;
};

/* Whether to sleep now. Asked after each wake-up; looks at the traffic once a millisecond. */
bool xy_moderate(struct xy_moderator *moderator, const struct xy_traffic *traffic, uint64_t now_ns);

#endif
