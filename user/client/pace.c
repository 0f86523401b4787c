/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <string.h>

/*
 * A publisher that is asked to SYNC has outrun somebody already, and what it sends until it hears
 * of it goes the slow path. So the library asks by itself, at two moments:
 *
 *   - Before the second send to a new target, when it follows at once. The first one had to go the
 *     slow path; SYNCED comes when the proxy has decided about a flow for the rest.
 *   - After almost half a window. The receiver then has up to half a window to work on while the
 *     next half is agreed on, and nobody outruns anybody. One frame less than half, because PINGs
 *     and the like stand in the window, too. A publisher that nobody ever asks has a receiver which
 *     keeps up, and stops pacing itself after a while; each time it is asked the while is longer.
 */

#define SOON_NS      10000000ull /* a second send within this is a stream's */
#define EPOCHS_FIRST 256         /* half windows that are paced at first … */
#define EPOCHS_LAST  1048576     /* … and at the most after a SYNC_WANTED */

void xy_pace_start(struct xy_client *client)
{
	client->pace.patience = client->pace.epochs = EPOCHS_FIRST;
	client->pace.bytes = 0;
	client->pace.fresh = 0;
}

void xy_pace_wanted(struct xy_client *client)
{
	if (client->pace.patience < EPOCHS_LAST)
		client->pace.patience *= 2;
	client->pace.epochs = client->pace.patience;
}

void xy_pace_synced(struct xy_client *client)
{
	client->pace.bytes = 0;
	client->pace.fresh = 0;
}

bool xy_pace_due(struct xy_client *client, const uint8_t *batch, size_t length)
{
	const struct xy_header *first = (const struct xy_header *)batch;

	if (!client->lane)
		return false;
	if (first->target == client->pace.fresh) {
		client->pace.fresh = 0;
		if (xy_clock_ns() - client->pace.fresh_ns < SOON_NS)
			return true;
	}
	if (client->pace.epochs && client->pace.bytes > 0 &&
	    client->pace.bytes + length > client->window / 2 - XY_FRAME_MAX) {
		client->pace.epochs--;
		return true;
	}
	return false;
}

void xy_pace_sent(struct xy_client *client, const uint8_t *batch, size_t length)
{
	const struct xy_header *first = (const struct xy_header *)batch;

	client->pace.bytes += length;
	if (!client->lane || first->sequence != xy_be64(1) || first->fragment != 0)
		return;
	client->pace.fresh = first->target;
	client->pace.fresh_ns = xy_clock_ns();
}
