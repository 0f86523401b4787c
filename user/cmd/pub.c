/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem pub: an argument, a file as one message, or a file line by line.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <xylem/client.h>

#include "base/clock.h"
#include "cmd/commands.h"
#include "cmd/connect.h"
#include "cmd/input.h"
#include "cmd/progress.h"
#include "cmd/stop.h"

struct pub {
	struct xy_connect connect;
	const char *file;
	bool lines;
	uint64_t count;
	double rate;
	struct xy_topic *topic;
	struct xy_progress progress;
	uint64_t started_ns;
	uint64_t sent;
};

static const struct xy_option pub_options[] = {
	{.name = "file",
	 .letter = 'F',
	 .kind = XY_OPTION_TEXT,
	 .argument = "FILE",
	 .help = "send FILE as one message, '-' for standard input; this is the default without a "
		 "MESSAGE",
	 .offset = offsetof(struct pub, file)},
	{.name = "lines",
	 .letter = 'l',
	 .kind = XY_OPTION_FLAG,
	 .help = "one message per line of the input, without its newline, as the lines come",
	 .offset = offsetof(struct pub, lines)},
	{.name = "count",
	 .letter = 'n',
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "send the message N times; with --lines at most N lines",
	 .offset = offsetof(struct pub, count),
	 .minimum = 1},
	{.name = "rate",
	 .kind = XY_OPTION_RATE,
	 .argument = "N",
	 .help = "at most N messages per second",
	 .offset = offsetof(struct pub, rate)},
	XY_HOLD_OPTION(struct pub, connect),
	XY_CONNECT_OPTIONS(struct pub, connect),
	{0},
};

/* Waits for the message's turn; what is queued goes out first. A status. */
static int pub_pace(struct pub *pub)
{
	uint64_t due, now;

	if (pub->rate <= 0)
		return XY_CMD_OK;
	due = pub->started_ns + (uint64_t)((double)pub->sent / pub->rate * XY_NS_PER_S);
	while ((now = xy_clock_ns()) < due) {
		uint64_t wait_ms = (due - now + XY_NS_PER_MS - 1) / XY_NS_PER_MS;
		int r = xy_client_process(pub->connect.client);

		if (r)
			return xy_connect_complain(&pub->connect, "connection", r);
		if (xy_stop_wanted())
			return XY_CMD_SIGNALLED;
		xy_connect_wait(&pub->connect, -1, 0, wait_ms > 1000 ? 1000 : (int)wait_ms);
	}
	return XY_CMD_OK;
}

static int pub_send(struct pub *pub, const void *data, size_t length)
{
	int r, status = pub_pace(pub);

	if (status)
		return status;
	do {
		if (xy_stop_wanted())
			return XY_CMD_SIGNALLED;
		r = xy_client_publish(pub->connect.client, pub->topic, data, length);
	} while (r == -EINTR);
	if (r)
		return xy_connect_complain(&pub->connect, "cannot publish", r);
	pub->sent++;
	xy_progress_add(&pub->progress, length);
	return XY_CMD_OK;
}

/* Until there is something to read; nothing stays queued meanwhile. A status. */
static int pub_wait_input(struct pub *pub, const struct xy_input *input)
{
	struct pollfd polled = {.fd = input->fd, .events = POLLIN};

	while (poll(&polled, 1, 0) == 0) {
		int r = xy_client_process(pub->connect.client);

		if (r)
			return xy_connect_complain(&pub->connect, "connection", r);
		if (xy_stop_wanted())
			return XY_CMD_SIGNALLED;
		if (xy_connect_wait(&pub->connect, input->fd, POLLIN, -1))
			break;
	}
	return XY_CMD_OK;
}

static int pub_lines(struct pub *pub)
{
	struct xy_input input;
	const char *line;
	size_t length;
	int status = xy_input_open(&input, pub->connect.command, pub->file ? pub->file : "-");

	if (status)
		return status;
	while (!status && !input.end) {
		status = pub_wait_input(pub, &input);
		if (!status)
			status = xy_input_fill(&input);
		while (!status && (!pub->count || pub->sent < pub->count) &&
		       xy_input_line(&input, &line, &length))
			status = pub_send(pub, line, length);
		if (pub->count && pub->sent == pub->count)
			break;
	}
	xy_input_close(&input);
	return status;
}

static int pub_repeat(struct pub *pub, const void *data, size_t length)
{
	uint64_t count = pub->count ? pub->count : 1;
	int status = XY_CMD_OK;

	while (!status && pub->sent < count)
		status = pub_send(pub, data, length);
	return status;
}

static int pub_run(int argc, char **argv)
{
	struct pub pub = {0};
	struct xy_input input = {.fd = -1};
	const char *text;
	const void *data = NULL;
	size_t length = 0;
	int first, status;

	if (!xy_options_parse(&xy_command_pub, argc, argv, &pub, &first, &status))
		return status;
	text = argv[first + 1];
	if (text && pub.lines)
		return xy_options_complain(
			&xy_command_pub, "option --lines reads a file or standard input; leave the "
					 "MESSAGE away");
	/* The whole message first: an input that cannot be read needs no connection. */
	if (!pub.lines) {
		status = xy_input_message(&input, &xy_command_pub, text, pub.file, &data, &length);
		if (status)
			return status;
	}
	status = xy_connect_open(&pub.connect, &xy_command_pub);
	if (!status) {
		int r = xy_client_declare(pub.connect.client, argv[first], &pub.topic);

		if (r)
			status = xy_connect_complain(&pub.connect, argv[first], r);
	}
	pub.started_ns = xy_clock_ns();
	xy_progress_start(&pub.progress, false);
	if (!status)
		status = pub.lines ? pub_lines(&pub) : pub_repeat(&pub, data, length);
	if (!status)
		status = xy_connect_finish(&pub.connect);
	xy_progress_end(&pub.progress);
	xy_connect_close(&pub.connect);
	xy_input_close(&input);
	return status;
}

const struct xy_command xy_command_pub = {
	.name = "pub",
	.arguments = "SUBJECT [MESSAGE]",
	.summary = "publish messages on a subject",
	.details =
		"Returns when the proxy has handed on everything. A subscriber that blocks holds\n"
		"the publisher back; see 'xylem sub --help', --overflow.\n\n"
		"  xylem pub orders.new 'three apples'\n"
		"  xylem pub --lines log.host1 < /var/log/syslog\n"
		"  xylem pub --file image.iso images.new\n",
	.options = pub_options,
	.positional_minimum = 1,
	.positional_maximum = 2,
	.run = pub_run,
};
