/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem request: asks, prints the reply; many times over it measures the round trip.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xylem/client.h>

#include "base/clock.h"
#include "cmd/commands.h"
#include "cmd/connect.h"
#include "cmd/input.h"
#include "cmd/output.h"
#include "cmd/progress.h"
#include "cmd/stop.h"
#include "cmd/text.h"

struct request {
	struct xy_connect connect;
	struct xy_output output;
	const char *file;
	uint64_t timeout_ms, count;
	double rate;
	bool quiet, summary;
	struct xy_topic *topic;
	struct xy_progress progress;
	uint64_t *rtt_ns; /* count of them */
	uint64_t done;
};

static const struct xy_option request_options[] = {
	{.name = "timeout",
	 .letter = 't',
	 .kind = XY_OPTION_DURATION,
	 .argument = "DURATION",
	 .help = "how long to wait for a reply",
	 .fallback = "2s",
	 .offset = offsetof(struct request, timeout_ms)},
	{.name = "count",
	 .letter = 'n',
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "ask N times, one after the other; above 1 the round-trip times are summed up on "
		 "standard error",
	 .fallback = "1",
	 .offset = offsetof(struct request, count),
	 .minimum = 1,
	 .maximum = 100000000},
	{.name = "rate",
	 .kind = XY_OPTION_RATE,
	 .argument = "N",
	 .help = "at most N requests per second",
	 .offset = offsetof(struct request, rate)},
	{.name = "file",
	 .letter = 'F',
	 .kind = XY_OPTION_TEXT,
	 .argument = "FILE",
	 .help = "the request is FILE, '-' for standard input; this is the default without a "
		 "MESSAGE",
	 .offset = offsetof(struct request, file)},
	{.name = "quiet",
	 .letter = 'q',
	 .kind = XY_OPTION_FLAG,
	 .help = "do not print replies",
	 .offset = offsetof(struct request, quiet)},
	{.name = "summary",
	 .kind = XY_OPTION_FLAG,
	 .help = "print the round-trip times as JSON on standard output, instead of replies",
	 .offset = offsetof(struct request, summary)},
	XY_OUTPUT_OPTIONS(struct request, output),
	XY_HOLD_OPTION(struct request, connect),
	XY_CONNECT_OPTIONS(struct request, connect),
	{0},
};

static int compare_ns(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/* The value that `permille` of all do not exceed (nearest rank). */
static uint64_t percentile(const struct request *request, uint64_t permille)
{
	uint64_t rank = (request->done * permille + 999) / 1000;

	return request->rtt_ns[rank ? rank - 1 : 0];
}

static int request_summary(struct request *request)
{
	static const struct {
		const char *name;
		uint64_t permille;
	} shown[] = {{"min", 0},   {"p50", 500},  {"p90", 900},
		     {"p99", 990}, {"p999", 999}, {"max", 1000}};
	uint64_t sum = 0;
	json_t *object;
	int r = 0;

	if (!request->done)
		return 0;
	qsort(request->rtt_ns, request->done, sizeof(*request->rtt_ns), compare_ns);
	for (uint64_t i = 0; i < request->done; i++)
		sum += request->rtt_ns[i];

	if (!request->summary) {
		fprintf(stderr, "%s replies, round trip: mean %s", XY_COUNT(request->done),
			XY_TIME(sum / request->done));
		for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
			fprintf(stderr, ", %s %s", shown[i].name,
				XY_TIME(percentile(request, shown[i].permille)));
		fprintf(stderr, "%s\n",
			xy_client_on_lane(request->connect.client) ? " (lane)" : "");
		return 0;
	}
	object = json_pack("{s:I,s:b,s:I}", "replies", (json_int_t)request->done, "lane",
			   xy_client_on_lane(request->connect.client), "mean_ns",
			   (json_int_t)(sum / request->done));
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		char name[16];

		snprintf(name, sizeof(name), "%s_ns", shown[i].name);
		r |= json_object_set_new(
			object, name,
			json_integer((json_int_t)percentile(request, shown[i].permille)));
	}
	r |= json_dumpf(object, request->output.file, JSON_COMPACT);
	if (putc('\n', request->output.file) == EOF)
		r = -1;
	json_decref(object);
	return r ? -EIO : 0;
}

static int request_failed(struct request *request, int error)
{
	switch (error) {
	case -ENOENT:
		fprintf(stderr, "xylem request: nobody answers on this subject (no-responders)\n");
		return XY_CMD_UNANSWERED;
	case -ETIMEDOUT:
		fprintf(stderr, "xylem request: no reply within %llu ms (--timeout)\n",
			(unsigned long long)request->timeout_ms);
		return XY_CMD_UNANSWERED;
	default:
		return xy_connect_complain(&request->connect, "no reply", error);
	}
}

static int request_all(struct request *request, const void *data, size_t length, int *ret_written)
{
	uint64_t started_ns = xy_clock_ns();
	struct xy_message reply;
	int r;

	while (request->done < request->count && !*ret_written) {
		uint64_t begun_ns, due_ns = started_ns;

		if (request->rate > 0)
			due_ns += (uint64_t)((double)request->done / request->rate * XY_NS_PER_S);
		while ((begun_ns = xy_clock_ns()) < due_ns && !xy_stop_wanted()) {
			uint64_t wait_ms = (due_ns - begun_ns + XY_NS_PER_MS - 1) / XY_NS_PER_MS;

			xy_connect_wait(&request->connect, -1, 0,
					wait_ms > 1000 ? 1000 : (int)wait_ms);
			r = xy_client_process(request->connect.client);
			if (r)
				return request_failed(request, r);
		}
		if (xy_stop_wanted())
			return XY_CMD_SIGNALLED;
		r = xy_client_request(request->connect.client, request->topic, data, length,
				      (int)request->timeout_ms, &reply);
		if (r)
			return request_failed(request, r);
		request->rtt_ns[request->done++] = xy_clock_ns() - begun_ns;
		if (!request->quiet && !request->summary)
			*ret_written = xy_output_message(&request->output, &reply);
		xy_progress_add(&request->progress, reply.length);
	}
	return XY_CMD_OK;
}

static int request_connected(struct request *request, const char *subject, const void *data,
			     size_t length)
{
	int r, status, written = 0;

	status = xy_output_open(&request->output, &xy_command_request);
	if (status)
		return status;
	r = xy_client_declare(request->connect.client, subject, &request->topic);
	if (r)
		return xy_connect_complain(&request->connect, subject, r);
	xy_progress_start(&request->progress, request->output.terminal && !request->quiet);
	status = request_all(request, data, length, &written);
	xy_progress_end(&request->progress);
	if (!written && (request->count > 1 || request->summary))
		written = request_summary(request);
	written = xy_output_close(&request->output, written);
	return status ? status : written;
}

static int request_run(int argc, char **argv)
{
	struct request request = {0};
	struct xy_input input;
	const void *data;
	size_t length;
	int first, status;

	if (!xy_options_parse(&xy_command_request, argc, argv, &request, &first, &status))
		return status;
	status = xy_input_message(&input, &xy_command_request, argv[first + 1], request.file, &data,
				  &length);
	if (status)
		return status;
	request.rtt_ns = calloc(request.count, sizeof(*request.rtt_ns));
	if (!request.rtt_ns) {
		fprintf(stderr, "xylem request: no memory for %s times; use a smaller --count\n",
			XY_COUNT(request.count));
		status = XY_CMD_FAILURE;
	} else {
		/* A request that a reconnection swallowed would only time out. */
		request.connect.no_reconnect = true;
		status = xy_connect_open(&request.connect, &xy_command_request);
		if (!status)
			status = request_connected(&request, argv[first], data, length);
		if (!status)
			status = xy_connect_finish(&request.connect);
		xy_connect_close(&request.connect);
	}
	free(request.rtt_ns);
	xy_input_close(&input);
	return status;
}

const struct xy_command xy_command_request = {
	.name = "request",
	.arguments = "SUBJECT [MESSAGE]",
	.summary = "send a request and print the reply",
	.details = "Status 4: nobody subscribes to the subject, or no reply came in time.\n\n"
		   "  xylem request time.now ''\n"
		   "  xylem request --count 100000 --quiet echo 'ping'\n",
	.options = request_options,
	.positional_minimum = 1,
	.positional_maximum = 2,
	.run = request_run,
};
