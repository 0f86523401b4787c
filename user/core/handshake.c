/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/handshake.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/rcu.h"

#define TURN_MS   10
#define HANDSHAKE 0x16 /* first byte of a record of TLS that begins one */

/* When its first byte is there. 0, -errno. However it ends before, by a reset, too: who looks
 * whether the port is open has done so then. */
static int begin(struct xy_handshake *handshake)
{
	uint8_t first;
	ssize_t got = recv(handshake->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (got <= 0)
		return -ENODATA;
	if (first != HANDSHAKE)
		return -EPROTONOSUPPORT;
	if (xy_budget_spent(&handshake->core->budget) ||
	    xy_budget_greeted(&handshake->core->budget)) {
		xy_count(handshake->core, XY_COUNT_MEMORY_REFUSED, 1);
		return -ENOBUFS;
	}
	xy_rcu_read_lock();
	handshake->tls = xy_tls_new(xy_rcu_dereference(handshake->core->tls), handshake->fd, NULL);
	xy_rcu_read_unlock();
	return handshake->tls ? 0 : -ENOMEM;
}

static const char *why_of(const struct xy_handshake *handshake, int error,
			  char why[XY_TLS_WHY_SIZE])
{
	if (error == -ENOBUFS)
		return "the proxy's memory budget is used up";
	if (!handshake->tls)
		return strerror(-error);
	xy_tls_why(handshake->tls, why);
	return why;
}

static void step(struct xy_handshake *handshake)
{
	char why[XY_TLS_WHY_SIZE];
	int error = handshake->tls ? 0 : begin(handshake);

	if (!error) {
		error = xy_tls_handshake(handshake->tls);
		if (error == -EAGAIN)
			handshake->waits(handshake, xy_tls_waits(handshake->tls));
	}
	if (error == -EAGAIN)
		return;
	handshake->done = !error;
	if (error != -ENODATA)
		xy_count(handshake->core, error ? XY_COUNT_TLS_FAILED : XY_COUNT_TLS_HANDSHAKES, 1);
	handshake->over(handshake, error, error ? why_of(handshake, error, why) : "");
}

void xy_handshake_ready(struct xy_handshake *handshake, struct xy_list *queue)
{
	if (xy_list_empty(&handshake->queued))
		xy_list_add_tail(queue, &handshake->queued);
}

bool xy_handshakes_turn(struct xy_list *queue)
{
	struct xy_handshake *handshake;
	uint64_t end;

	if (xy_list_empty(queue))
		return false;
	end = xy_clock_ms() + TURN_MS;
	do {
		handshake = xy_list_first(queue, struct xy_handshake, queued);
		xy_list_remove(&handshake->queued);
		step(handshake);
	} while (!xy_list_empty(queue) && xy_clock_ms() < end);
	return !xy_list_empty(queue);
}
