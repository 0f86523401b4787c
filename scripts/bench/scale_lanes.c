/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scale.h"

static struct wire *wires_open(const struct scale *scale)
{
	unsigned most = scale->point[scale->points - 1];
	struct wire *wires = calloc(most, sizeof(*wires));

	if (!wires)
		die("wires", "out of memory");
	return wires;
}

/* ---- bare TCP, to compare with --------------------------------------------------------------- */

#define TCP_BURSTS 81
#define TCP_BURST  64

struct tcp {
	int from, to;
};

static struct tcp tcp_open(int listener)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	struct tcp tcp = {.from = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	int on = 1;

	if (getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
	    connect(tcp.from, (struct sockaddr *)&address, size) != 0)
		die("TCP", strerror(errno));
	tcp.to = accept(listener, NULL, NULL);
	setsockopt(tcp.from, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return tcp;
}

static int tcp_listen(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(listener, 16) != 0)
		die("TCP", strerror(errno));
	return listener;
}

/* As pairs_print(): the same bytes, from one socket to another, of a random pair. */
static void tcp_print(const struct tcp *pairs, unsigned count)
{
	static char bytes[XY_HEADER_SIZE + 64];
	double took[TCP_BURSTS];

	for (unsigned b = 0; b < TCP_BURSTS; b++) {
		uint64_t begun = now_ns();

		for (unsigned i = 0; i < TCP_BURST; i++) {
			const struct tcp *pair = &pairs[(unsigned)random() % count];

			if (send(pair->from, bytes, sizeof(bytes), 0) != sizeof(bytes) ||
			    recv(pair->to, bytes, sizeof(bytes), MSG_WAITALL) != sizeof(bytes))
				die("TCP", strerror(errno));
		}
		took[b] = (double)(now_ns() - begun) / TCP_BURST;
	}
	line_number("tcp_ns", median(took, TCP_BURSTS));
}

/* ---- curves ---------------------------------------------------------------------------------- */

/* Lanes in pairs, each with a flow of its own: what one more costs, and what it costs the others.
 */
void curve_lanes(struct scale *scale)
{
	unsigned most = scale->point[scale->points - 1], open = 0;
	struct pair *pairs = calloc(most / 2 + 1, sizeof(*pairs));
	struct wire *wires = wires_open(scale);
	struct tcp *tcp = calloc(most / 2 + 1, sizeof(*tcp));
	uint64_t memory = memory_of(scale->pid);
	int listener = tcp_listen();

	for (unsigned p = 0; p < scale->points; p++) {
		unsigned lanes = scale->point[p] & ~1u, begun = open;
		struct spent begin = spent_begin(scale);

		for (; open < lanes; open += 2) {
			struct wire *pair = &wires[open];
			char subject[32];

			snprintf(subject, sizeof(subject), "lane.%u", open);
			wire_open(&pair[0], scale->port);
			wire_open(&pair[1], scale->port);
			tcp[open / 2] = tcp_open(listener);
			wire_subscribe(&pair[1], subject);
			pairs[open / 2] = (struct pair){.from = &pair[0],
							.to = &pair[1],
							.target = wire_declare(&pair[0], subject)};
		}
		line_begin(scale, lanes);
		spent_print(scale, begin, "open", lanes - begun);
		line_number("lane", wires[0].lane);
		line_number("bytes", (double)(memory_of(scale->pid) - memory) / lanes);
		pairs_print(scale, pairs, lanes / 2);
		tcp_print(tcp, lanes / 2);
		begin = spent_begin(scale);
		sleep(1);
		spent_print(scale, begin, "idle", 1);
		line_end();
	}
}

/* Subscribers of one subject that is published on: each changes the route of all. */
void curve_shared(struct scale *scale)
{
	struct wire *wires = wires_open(scale), publisher;
	unsigned open = 0;

	wire_open(&publisher, scale->port);
	wire_declare(&publisher, "shared");
	for (unsigned p = 0; p < scale->points; p++) {
		unsigned begun = open;
		struct spent begin;

		for (; open < scale->point[p]; open++)
			wire_open(&wires[open], scale->port);
		begin = spent_begin(scale);
		for (unsigned w = begun; w < open; w++)
			wire_subscribe(&wires[w], "shared");
		line_begin(scale, open);
		spent_print(scale, begin, "subscribe", open - begun);
		line_end();
	}
}
