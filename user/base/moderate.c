/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/moderate.h"

#include "base/bytes.h"
#include "base/clock.h"

#define PERIOD_NS     XY_NS_PER_MS
#define STALE_NS      (10 * PERIOD_NS) /* a look over more time than this says nothing */
#define WAKES_MANY    30               /* in a period; it begins */
#define MESSAGES_MANY 60               /* in a period; it goes on */
#define BYTES_MANY    (256u << 10)     /* in a period; it ends */
#define PAUSE_LAST    64               /* periods between attempts */

static bool many(uint64_t before, uint64_t now, uint64_t most, uint64_t passed_ns)
{
	return (now - before) * PERIOD_NS >= most * passed_ns;
}

bool xy_moderate(struct xy_moderator *moderator, const struct xy_traffic *traffic, uint64_t now_ns)
{
	const struct xy_traffic before = moderator->before;
	uint64_t passed = now_ns - moderator->since_ns;
	bool was_on = moderator->on;

	if (passed < PERIOD_NS)
		return was_on;
	moderator->since_ns = now_ns;
	moderator->before = *traffic;
	moderator->on = passed < STALE_NS && traffic->sent == before.sent &&
			!many(before.bytes, traffic->bytes, BYTES_MANY, passed) &&
			(was_on ? many(before.messages, traffic->messages, MESSAGES_MANY, passed)
				: !moderator->pause &&
					  many(before.wakes, traffic->wakes, WAKES_MANY, passed));
	if (was_on && moderator->on)
		moderator->pauses = 0;
	else if (was_on)
		moderator->pause = moderator->pauses =
			(uint16_t)xy_min(moderator->pauses * 2 + 1, PAUSE_LAST);
	else if (moderator->pause)
		moderator->pause--;
	return moderator->on;
}
