/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem bench: how fast messages go through a proxy, and whether they are what was sent.
 */
#include "cmd/bench.h"

#include <stdio.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/stop.h"
#include "cmd/table.h"

static const struct xy_option bench_options[] = {
	{.name = "size",
	 .letter = 'b',
	 .kind = XY_OPTION_TEXT,
	 .argument = "LIST",
	 .help = "bytes of a message, 0 to 1M; of several, each gets a run of its own: 0,64,1K,1M",
	 .fallback = "64",
	 .offset = offsetof(struct xy_bench, sizes_text)},
	{.name = "publishers",
	 .letter = 'P',
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "how many publish, or request",
	 .fallback = "1",
	 .offset = offsetof(struct xy_bench, producers),
	 .minimum = 1,
	 .maximum = XY_BENCH_PRODUCERS_MAX},
	{.name = "subscribers",
	 .letter = 'S',
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "how many subscribe, each to everything; or reply, sharing the requests",
	 .fallback = "1",
	 .offset = offsetof(struct xy_bench, consumers),
	 .minimum = 1,
	 .maximum = XY_BENCH_CONSUMERS_MAX},
	{.name = "pairs",
	 .kind = XY_OPTION_FLAG,
	 .help = "each publisher has a subscriber and a subject of its own",
	 .offset = offsetof(struct xy_bench, pairs)},
	{.name = "send",
	 .kind = XY_OPTION_CHOICE,
	 .argument = "batch|each",
	 .help = "publish as the library does it, many messages a send; or each by itself",
	 .fallback = "batch",
	 .offset = offsetof(struct xy_bench, send)},
	{.name = "rate",
	 .letter = 'r',
	 .kind = XY_OPTION_RATE,
	 .argument = "N",
	 .help = "messages per second of all publishers together, planned ahead: latency counts "
		 "from when a message was due; if not given: as fast as it goes",
	 .offset = offsetof(struct xy_bench, rate)},
	{.name = "duration",
	 .letter = 'd',
	 .kind = XY_OPTION_DURATION,
	 .argument = "DURATION",
	 .help = "how long a run measures",
	 .fallback = "3s",
	 .offset = offsetof(struct xy_bench, duration_ms),
	 .given = offsetof(struct xy_bench, duration_given),
	 .minimum = 1,
	 .maximum = 86400000},
	{.name = "warmup",
	 .kind = XY_OPTION_DURATION,
	 .argument = "DURATION",
	 .help = "how long it works before it measures",
	 .fallback = "500ms",
	 .offset = offsetof(struct xy_bench, warmup_ms),
	 .given = offsetof(struct xy_bench, warmup_given),
	 .minimum = 1,
	 .maximum = 3600000},
	{.name = "count",
	 .letter = 'n',
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "so many messages of each publisher instead of so long",
	 .offset = offsetof(struct xy_bench, count),
	 .minimum = 1,
	 .maximum = 1000000000000},
	{.name = "repeat",
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "everything N times over: one run alone says little",
	 .fallback = "1",
	 .offset = offsetof(struct xy_bench, repeat),
	 .minimum = 1,
	 .maximum = 1000},
	{.name = "every-byte",
	 .kind = XY_OPTION_FLAG,
	 .help = "compare all bytes of each message, not its ends alone; costs receivers time",
	 .offset = offsetof(struct xy_bench, whole)},
	{.name = "cpus",
	 .kind = XY_OPTION_TEXT,
	 .argument = "LIST",
	 .help = "pin publishers, then subscribers, to these CPUs in turn: 0,1 or 0-3",
	 .offset = offsetof(struct xy_bench, cpus_text)},
	{.name = "json",
	 .letter = 'j',
	 .kind = XY_OPTION_FLAG,
	 .help = "one JSON object per run, on a line",
	 .offset = offsetof(struct xy_bench, json)},
	{.name = "csv",
	 .kind = XY_OPTION_FLAG,
	 .help = "a line of names, then one per run",
	 .offset = offsetof(struct xy_bench, csv)},
	{.name = "proxy-pid",
	 .kind = XY_OPTION_NUMBER,
	 .argument = "PID",
	 .help = "the proxy's process, whose CPU time and context switches are told; if not given: "
		 "what the admin socket says",
	 .offset = offsetof(struct xy_bench, proxy_pid),
	 .minimum = 1,
	 .maximum = INT32_MAX},
	XY_ADMIN_OPTIONS(struct xy_bench, where),
	XY_CONNECT_OPTIONS(struct xy_bench, connect),
	{0},
};

/* All runs; repetitions are interleaved. A status. */
static int bench_all(const struct xy_bench *bench, const struct xy_command *command,
		     struct xy_table *table)
{
	int status = XY_CMD_OK;

	for (unsigned turn = 0; turn < 2 * bench->sizes * bench->repeat; turn++) {
		unsigned size = turn % bench->sizes, repetition = turn / (2 * bench->sizes);
		bool request = turn / bench->sizes % 2 == 0, begun;
		struct xy_bench_result result;
		int r;

		if (!(request ? bench->request : bench->publish))
			continue;
		if (xy_stop_wanted())
			return XY_CMD_SIGNALLED;
		r = xy_bench_conduct(bench, command, request, bench->size[size], repetition + 1,
				     &result, &begun);
		if (begun)
			xy_bench_report(bench, table, &result);
		/* Wrong figures of one run say nothing about the others. */
		if (r && r != XY_CMD_FAILURE)
			return r;
		if (r)
			status = r;
		if (!begun)
			return r;
	}
	return status;
}

int xy_bench_main(const struct xy_command *command, const struct xy_bench_transport *transport,
		  int argc, char **argv)
{
	struct xy_bench bench = {.transport = transport};
	struct xy_table table;
	int first, status, written;

	if (!xy_options_parse(command, argc, argv, &bench, &first, &status))
		return status;
	status = xy_bench_plan(&bench, command, argv + first);
	if (status)
		return status;
	status = xy_stop_install();
	if (status) {
		fprintf(stderr, "xylem bench: %s\n", strerror(-status));
		return XY_CMD_FAILURE;
	}
	xy_bench_report_begin(&bench, &table);
	status = bench_all(&bench, command, &table);
	written = xy_bench_report_end(&bench, &table);
	return status ? status : written;
}

static int bench_run(int argc, char **argv)
{
	return xy_bench_main(&xy_command_bench, &xy_bench_client, argc, argv);
}

const struct xy_command xy_command_bench = {
	.name = "bench",
	.arguments = "[request] [publish]",
	.summary = "measure a proxy's latency and throughput, and check every message",
	.details =
		"request: each publisher asks and waits for the reply; latency is the round trip.\n"
		"publish: messages from publishers to subscribers, as many per second as they "
		"take;\n"
		"with --rate, latency from when a message was due to when it was received.\n"
		"Without either: both.\n\n"
		"Works on subjects of its own below _bench. and beside other traffic, from which "
		"it\n"
		"takes CPU time: without --rate as much as it can get. It keeps at most some MiB "
		"of\n"
		"messages per client, and publishers wait for subscribers; who subscribes to '>' "
		"is one\n"
		"of them. Each worker is a process.\n\n"
		"A message that is lost, repeated, damaged or not ours fails the run: status 1. "
		"LANE\n"
		"says whether the workers were on lanes; PROXY CPU and SWITCHES are the proxy's "
		"per\n"
		"message measured. SIGINT ends the run; what was measured until then is "
		"printed.\n\n"
		"  xylem bench\n"
		"  xylem bench request --size 64,1K,16K --cpus 0,1\n"
		"  xylem bench publish --rate 20000 --duration 30s\n"
		"  xylem bench publish --send each --subscribers 8 --repeat 5 --csv\n"
		"  xylem bench publish --publishers 4 --subscribers 4 --pairs --json\n",
	.options = bench_options,
	.positional_minimum = 0,
	.positional_maximum = 2,
	.run = bench_run,
};
