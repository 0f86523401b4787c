/* SPDX-License-Identifier: BSD-2-Clause */
/*
 *	scale CURVE PID PORT INSTANCE POINT …
 */
#include "scale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define BURSTS  81
#define BURST   64 /* messages; the least window takes them all */
#define PAYLOAD 64

struct spent spent_begin(const struct scale *scale)
{
	return (struct spent){.at_ns = now_ns(), .cpu_ns = cpu_ns(scale->pid)};
}

void spent_print(const struct scale *scale, struct spent since, const char *name, uint64_t count)
{
	struct spent now = spent_begin(scale);
	char member[64];

	if (!count)
		return;
	snprintf(member, sizeof(member), "%s_us", name);
	line_number(member, (double)(now.at_ns - since.at_ns) / 1e3 / (double)count);
	snprintf(member, sizeof(member), "%s_cpu_us", name);
	line_number(member, (double)(now.cpu_ns - since.cpu_ns) / 1e3 / (double)count);
}

void line_begin(const struct scale *scale, unsigned x)
{
	printf("{\"bench\":\"scale\",\"curve\":\"%s\",\"x\":%u", scale->curve, x);
}

void line_number(const char *name, double value)
{
	printf(",\"%s\":%.6g", name, value);
}

void line_end(void)
{
	printf("}\n");
	fflush(stdout);
}

static void message(struct pair *pair)
{
	wire_publish(pair->from, pair->target, ++pair->sent, 1, PAYLOAD);
	wire_receive(pair->to, pair->to->data + 1);
	if (pair->to->last != pair->sent)
		die("DATA", "another message than was sent");
}

void pairs_print(const struct scale *scale, struct pair *pairs, unsigned count)
{
	double took[BURSTS], verdict[BURSTS];
	struct spent begin;

	/* The first of each goes by the proxy, and asks for a flow. */
	for (unsigned p = 0; p < count; p++)
		if (!pairs[p].sent) {
			message(&pairs[p]);
			wire_sync(pairs[p].from);
		}
	begin = spent_begin(scale);
	for (unsigned b = 0; b < BURSTS; b++) {
		struct verdict_mark mark = verdict_mark(&scale->verdict);
		uint64_t begun = now_ns();

		for (unsigned i = 0; i < BURST; i++)
			message(&pairs[(unsigned)random() % count]);
		took[b] = (double)(now_ns() - begun) / BURST;
		verdict[b] = verdict_ns(&scale->verdict, mark);
	}
	line_number("message_ns", median(took, BURSTS));
	line_number("proxy_cpu_ns", (double)(cpu_ns(scale->pid) - begin.cpu_ns) / BURSTS / BURST);
	line_number("verdict_ns", median(verdict, BURSTS));
	line_number("verdict_best_ns", verdict[0]);
}

static const struct {
	const char *name;
	void (*run)(struct scale *scale);
} curves[] = {
	{"lanes", curve_lanes},     {"shared", curve_shared},
	{"flows", curve_flows},     {"senders", curve_senders},
	{"frames", curve_frames},   {"subscriptions", curve_subscriptions},
	{"library", curve_library},
};

int main(int argc, char **argv)
{
	struct rlimit limit = {20000, 20000};
	struct scale scale;

	if (argc < 6 || argc - 5 > POINTS_MAX) {
		fprintf(stderr, "usage: scale CURVE PID PORT INSTANCE POINT …\n");
		return 2;
	}
	scale = (struct scale){.curve = argv[1],
			       .pid = atoi(argv[2]),
			       .port = (uint16_t)atoi(argv[3]),
			       .points = (unsigned)argc - 5};
	for (unsigned p = 0; p < scale.points; p++)
		scale.point[p] = (unsigned)strtoul(argv[p + 5], NULL, 10);
	setrlimit(RLIMIT_NOFILE, &limit);
	verdict_open(&scale.verdict, argv[4]);
	for (unsigned c = 0; c < sizeof(curves) / sizeof(curves[0]); c++)
		if (!strcmp(curves[c].name, scale.curve)) {
			curves[c].run(&scale);
			verdict_close(&scale.verdict);
			return 0;
		}
	fprintf(stderr, "scale: there is no curve %s\n", scale.curve);
	return 2;
}
