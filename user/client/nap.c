/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>

int xy_client_nap(struct xy_client *client, uint64_t now)
{
	const struct timespec moment = {.tv_nsec = XY_MODERATE_NS};
	const struct xy_traffic traffic = {
		.wakes = client->stats.reads,
		.messages = client->stats.frames_in,
		.bytes = client->consumed,
		.sent = client->stats.frames_out,
	};

	/* What a member of a group sleeps over no other member can do for it. */
	if (client->no_nap || client->grouped || !xy_moderate(&client->moderator, &traffic, now))
		return 0;
	return nanosleep(&moment, NULL) ? -errno : 1;
}
