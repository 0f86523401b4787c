/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether to wait awake for a moment before going to sleep.
 *
 * To be woken costs several times as much as what one is woken for, and takes longer: most of a
 * round trip between two cores. So one whose last wait was short waits for the next awake, if that
 * helps: where what it waits for is to come from the same core it does not, and what came because
 * somebody else had that core meanwhile would have come sooner to one asleep. Each attempt in vain
 * doubles the number of waits until the next, to a thousand.
 */
#ifndef XY_BASE_SPIN_H
#define XY_BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define XY_SPIN_NS      20000u /* awake for so long at most … */
#define XY_SPIN_SOON_NS 30000u /* … when the last wait, with waking up, took less than this */
#define XY_SPIN_GAP_NS  2000u  /* longer between two looks: somebody else has had the CPU */
#define XY_SPIN_VAIN    10u    /* 2^this waits without an attempt, at most */

/* Zero-initialise. One thread. */
struct xy_spin {
	uint32_t vain;  /* attempts in a row */
	uint32_t pause; /* waits until the next attempt */
	bool soon;      /* the last wait was short */
};

/* Before a wait. */
static inline bool xy_spin_due(struct xy_spin *spin)
{
	if (!spin->soon)
		return false;
	if (!spin->pause)
		return true;
	spin->pause--;
	return false;
}

/* After an attempt; `came`: while nobody else had the CPU. */
static inline void xy_spin_tried(struct xy_spin *spin, bool came)
{
	spin->vain = came ? 0 : xy_min(spin->vain + 1, XY_SPIN_VAIN);
	spin->pause = came ? 0 : 1u << spin->vain;
}

/* After a wait, by whichever means it ended; UINT64_MAX when nothing came. */
static inline void xy_spin_waited(struct xy_spin *spin, uint64_t ns)
{
	spin->soon = ns < XY_SPIN_SOON_NS;
}

#endif
