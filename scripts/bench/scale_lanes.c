/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
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

/* Lanes in pairs, each with a flow of its own: what one more costs, and what it costs the others.
 */
void curve_lanes(struct scale *scale)
{
	unsigned most = scale->point[scale->points - 1], open = 0;
	struct pair *pairs = calloc(most / 2 + 1, sizeof(*pairs));
	struct wire *wires = wires_open(scale);
	uint64_t memory = memory_of(scale->pid);

	for (unsigned p = 0; p < scale->points; p++) {
		unsigned lanes = scale->point[p] & ~1u, begun = open;
		struct spent begin = spent_begin(scale);

		for (; open < lanes; open += 2) {
			struct wire *pair = &wires[open];
			char subject[32];

			snprintf(subject, sizeof(subject), "lane.%u", open);
			wire_open(&pair[0], scale->port);
			wire_open(&pair[1], scale->port);
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
