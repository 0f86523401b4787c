/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem sub: prints the messages of one or more patterns.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>
#include <xylem/client.h>

#include "base/clock.h"
#include "cmd/commands.h"
#include "cmd/connect.h"
#include "cmd/output.h"
#include "cmd/progress.h"
#include "cmd/stop.h"

struct sub {
	struct xy_connect connect;
	struct xy_output output;
	const char *group, *overflow;
	uint64_t stall_ms, count, timeout_ms;
	struct xy_progress progress;
	int written; /* first error of the output */
};

static const struct xy_option sub_options[] = {
	{.name = "count",
	 .letter = 'n',
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "end after N messages",
	 .offset = offsetof(struct sub, count),
	 .minimum = 1},
	{.name = "timeout",
	 .letter = 't',
	 .kind = XY_OPTION_DURATION,
	 .argument = "DURATION",
	 .help = "end with status 4 when no message came for so long",
	 .offset = offsetof(struct sub, timeout_ms)},
	{.name = "group",
	 .letter = 'g',
	 .kind = XY_OPTION_TEXT,
	 .argument = "NAME",
	 .help = "join a queue group: each message goes to one of its members",
	 .offset = offsetof(struct sub, group)},
	{.name = "overflow",
	 .kind = XY_OPTION_CHOICE,
	 .argument = "block|drop-newest|drop-oldest|disconnect",
	 .help = "what happens when this subscriber is too slow",
	 .fallback = "block",
	 .offset = offsetof(struct sub, overflow)},
	{.name = "stall",
	 .kind = XY_OPTION_DURATION,
	 .argument = "DURATION",
	 .help = "how long it may block without taking anything before it is closed",
	 .fallback = "2s",
	 .offset = offsetof(struct sub, stall_ms)},
	XY_OUTPUT_OPTIONS(struct sub, output),
	{.name = "no-reconnect",
	 .kind = XY_OPTION_FLAG,
	 .help = "end with status 1 when the connection is lost",
	 .offset = offsetof(struct sub, connect.no_reconnect)},
	XY_CONNECT_OPTIONS(struct sub, connect),
	{0},
};

static int sub_subscribe(struct sub *sub, char **patterns)
{
	struct xy_subscribe_options options = {
		.size = sizeof(options),
		.group = sub->group,
		.overflow = sub->overflow,
		.stall_ms = (uint32_t)sub->stall_ms,
	};

	for (; *patterns; patterns++) {
		struct xy_subscription *subscription;
		int r = xy_client_subscribe(sub->connect.client, *patterns, &options,
					    &subscription);

		if (r)
			return xy_connect_complain(&sub->connect, *patterns, r);
	}
	return XY_CMD_OK;
}

static bool sub_over(const struct sub *sub)
{
	return xy_stop_wanted() || sub->written ||
	       (sub->count && sub->progress.messages == sub->count);
}

/* Takes messages until the work is done. A status. */
static int sub_receive(struct sub *sub)
{
	struct xy_message message;
	uint64_t last_ms = xy_clock_ms(), idle_ms;
	int r, wait_ms;

	while (!sub_over(sub)) {
		r = xy_client_next(sub->connect.client, 0, &message);
		if (!r) {
			sub->written = xy_output_message(&sub->output, &message);
			xy_progress_add(&sub->progress, message.length);
			last_ms = 0;
			continue;
		}
		if (r == -EINTR)
			continue;
		if (r != -ETIMEDOUT && r != -EAGAIN)
			return xy_connect_complain(&sub->connect, "connection", r);
		sub->written = xy_output_flush(&sub->output);
		if (!last_ms)
			last_ms = xy_clock_ms();
		wait_ms = -1;
		if (sub->timeout_ms) {
			idle_ms = xy_clock_ms() - last_ms;
			if (idle_ms >= sub->timeout_ms) {
				fprintf(stderr, "xylem sub: no message in time (--timeout)\n");
				return XY_CMD_UNANSWERED;
			}
			wait_ms = (int)(sub->timeout_ms - idle_ms);
		}
		/* No event asked for: what shows is that the reader of our output is gone. */
		if (!sub->written &&
		    xy_connect_wait(&sub->connect, fileno(sub->output.file), 0, wait_ms))
			sub->written = -EPIPE;
	}
	/* Without --count a signal is how it ends well. */
	return sub->count && sub->progress.messages < sub->count && xy_stop_wanted()
		       ? XY_CMD_SIGNALLED
		       : XY_CMD_OK;
}

static int sub_run(int argc, char **argv)
{
	struct sub sub = {0};
	int first, status, written;

	if (!xy_options_parse(&xy_command_sub, argc, argv, &sub, &first, &status))
		return status;
	if (sub.stall_ms > 3600000)
		return xy_options_complain(&xy_command_sub, "option --stall: at most 60m");
	status = xy_output_open(&sub.output, &xy_command_sub);
	if (status)
		return status;
	status = xy_connect_open(&sub.connect, &xy_command_sub);
	if (!status)
		status = sub_subscribe(&sub, argv + first);
	xy_progress_start(&sub.progress, sub.output.terminal);
	if (!status)
		status = sub_receive(&sub);
	xy_progress_end(&sub.progress);
	xy_connect_close(&sub.connect);
	written = xy_output_close(&sub.output, sub.written);
	return status ? status : written;
}

const struct xy_command xy_command_sub = {
	.name = "sub",
	.arguments = "PATTERN…",
	.summary = "print the messages of subjects that match",
	.details = "In a pattern a token '*' stands for one token and a last token '>' for one or "
		   "more.\n"
		   "A message that several patterns match is printed once. Runs until a signal, "
		   "--count\n"
		   "or --timeout ends it.\n\n"
		   "  xylem sub --format subject 'orders.>'\n"
		   "  xylem sub --group workers --format json jobs.new\n"
		   "  xylem sub --count 1 --raw --output image.iso images.new\n",
	.options = sub_options,
	.positional_minimum = 1,
	.positional_maximum = 64,
	.run = sub_run,
};
