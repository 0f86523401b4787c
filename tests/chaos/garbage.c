/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connects, sends something that is no conversation, and vanishes; again and again. Whatever it
 * does must harm nobody else.
 */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <xylem/wire.h>

#include "chaos/ledger.h"
#include "chaos/worker.h"

#define HELLO "{\"name\":\"garbage\",\"ack\":true}"

static size_t put(uint8_t *to, enum xy_type type, uint64_t source, uint64_t correlation,
		  const char *payload)
{
	struct xy_header header = {
		.length = xy_be32((uint32_t)(sizeof(header) + strlen(payload))),
		.version = XY_WIRE_VERSION,
		.type = (uint8_t)type,
		.source = xy_be64(source),
		.correlation = xy_be64(correlation),
	};

	memcpy(to, &header, sizeof(header));
	memcpy(to + sizeof(header), payload, strlen(payload));
	return sizeof(header) + strlen(payload);
}

static void noise(uint8_t *to, size_t length, struct dice *dice)
{
	for (size_t i = 0; i < length; i++)
		to[i] = (uint8_t)dice_roll(dice);
}

/* Waits a little for what comes, and forgets it. The source of the first frame, if any. */
static uint64_t listen_briefly(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t buffer[4096];
	struct xy_header header = {0};

	if (poll(&p, 1, ms) == 1 &&
	    recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) >= (ssize_t)sizeof(header))
		memcpy(&header, buffer, sizeof(header));
	return header.type == XY_WELCOME ? xy_be64(header.target) : 0;
}

static void visit(int fd, struct dice *dice)
{
	const struct linger linger = {.l_onoff = 1};
	uint8_t bytes[8192] = {0};
	uint64_t endpoint = 0;
	size_t length = 0;

	if (dice_chance(dice, 3, 4)) {
		length = put(bytes, XY_HELLO, 0, 0, HELLO);
		if (send(fd, bytes, length, MSG_NOSIGNAL) < 0)
			return;
		endpoint = listen_briefly(fd, 2000);
		/* As a lane, or not. */
		if (dice_chance(dice, 1, 2)) {
			length = put(bytes, XY_SYNC, endpoint, 1, "");
			(void)!send(fd, bytes, length, MSG_NOSIGNAL);
			listen_briefly(fd, 2000);
			/* One more subscriber for a while: what others send meets a client that
			 * reads nothing and is gone. */
			length = put(bytes, XY_SUBSCRIBE, endpoint, 1,
				     "{\"subject\":\"fan.>\",\"overflow\":\"drop-newest\"}");
			(void)!send(fd, bytes, length, MSG_NOSIGNAL);
		}
	}
	length = put(bytes, (enum xy_type)(1 + dice_below(dice, 18)), endpoint, dice_below(dice, 4),
		     "");
	if (dice_chance(dice, 1, 2))
		noise(bytes, sizeof(bytes), dice);
	(void)!send(fd, bytes, dice_chance(dice, 1, 2) ? length / 2 : sizeof(bytes), MSG_NOSIGNAL);
	listen_briefly(fd, (int)dice_below(dice, 300));
	if (dice_chance(dice, 1, 2))
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

int garbage_worker(struct ledger *ledger, uint32_t number, uint32_t life)
{
	struct worker *worker = &ledger->worker[number];
	struct dice dice = dice_of(ledger->seed, number * 1000003ull + life);

	atomic_store(&worker->life_number, life);
	while (atomic_load(&ledger->phase) == PHASE_RUN) {
		int fd = worker_dial(ledger, worker);

		if (fd >= 0) {
			visit(fd, &dice);
			close(fd);
			tally_add(worker, TALLY_VISITS, 1);
		}
		atomic_fetch_add(&worker->turns, 1);
		poll(NULL, 0, (int)dice_below(&dice, 300));
	}
	atomic_store(&worker->quiet, true);
	while (atomic_load(&ledger->phase) != PHASE_END) {
		atomic_fetch_add(&worker->turns, 1);
		poll(NULL, 0, 50);
	}
	return 0;
}
