/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem reply: answers requests with an echo or with a command's output.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <xylem/client.h>
#include <xylem/wire.h>

#include "base/clock.h"
#include "cmd/child.h"
#include "cmd/commands.h"
#include "cmd/connect.h"
#include "cmd/progress.h"
#include "cmd/stop.h"

struct reply {
	struct xy_connect connect;
	bool echo;
	const char *command, *group;
	uint64_t timeout_ms, count;
	struct xy_progress progress;
};

static const struct xy_option reply_options[] = {
	{.name = "echo",
	 .letter = 'e',
	 .kind = XY_OPTION_FLAG,
	 .help = "reply with the request itself",
	 .offset = offsetof(struct reply, echo)},
	{.name = "command",
	 .letter = 'c',
	 .kind = XY_OPTION_TEXT,
	 .argument = "COMMAND",
	 .help = "run COMMAND by /bin/sh for each request: its standard input is the request, its "
		 "standard output the reply",
	 .offset = offsetof(struct reply, command)},
	{.name = "timeout",
	 .letter = 't',
	 .kind = XY_OPTION_DURATION,
	 .argument = "DURATION",
	 .help = "kill a COMMAND that takes longer; its request gets no reply",
	 .fallback = "30s",
	 .offset = offsetof(struct reply, timeout_ms)},
	{.name = "group",
	 .letter = 'g',
	 .kind = XY_OPTION_TEXT,
	 .argument = "NAME",
	 .help = "join a queue group: each request goes to one of its members",
	 .offset = offsetof(struct reply, group)},
	{.name = "count",
	 .letter = 'n',
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "end after N requests",
	 .offset = offsetof(struct reply, count),
	 .minimum = 1},
	XY_CONNECT_OPTIONS(struct reply, connect),
	{0},
};

static int reply_send(struct reply *reply, const struct xy_message *request, const void *data,
		      size_t length)
{
	int r;

	do {
		r = xy_client_reply(reply->connect.client, request, data, length);
	} while (r == -EINTR && !xy_stop_wanted());
	/* Gone with the connection: the requester will not wait for ever, and others may ask. */
	if (r && r != -EINTR)
		fprintf(stderr, "xylem reply: a reply was not sent: %s\n",
			xy_client_error(reply->connect.client));
	return 0;
}

/* Steps the child and the client side by side, so that PINGs are answered while it runs. True when
 * the output is whole. */
static bool reply_run_child(struct reply *reply, struct xy_child *child)
{
	uint64_t end_ms = xy_clock_ms() + reply->timeout_ms;

	for (;;) {
		uint64_t now_ms = xy_clock_ms();
		struct pollfd polled[4] = {
			{.fd = xy_client_fd(reply->connect.client), .events = POLLIN},
			{.fd = xy_stop_fd(), .events = POLLIN},
		};
		int r = xy_child_step(child);

		if (r > 0)
			return true;
		if (r < 0) {
			fprintf(stderr, "xylem reply: COMMAND: %s\n",
				r == -EFBIG ? "its output is too large for a reply" : strerror(-r));
			return false;
		}
		if (now_ms >= end_ms) {
			fprintf(stderr, "xylem reply: COMMAND took too long and was killed "
					"(--timeout)\n");
			return false;
		}
		if (xy_stop_wanted() || xy_client_process(reply->connect.client))
			return false;
		xy_child_polls(child, polled + 2);
		poll(polled, 4, (int)(end_ms - now_ms));
	}
}

/* The request is a copy: messages end with the next call of the library. */
static int reply_by_command(struct reply *reply, const struct xy_message *request)
{
	struct xy_child child;
	char source[17];
	bool whole;
	int r, status;

	snprintf(source, sizeof(source), "%016" PRIx64, request->source);
	setenv("XYLEM_SUBJECT", request->subject, 1);
	setenv("XYLEM_SOURCE", source, 1);
	r = xy_child_start(&child, reply->command, request->data, request->length,
			   XY_MESSAGE_MAX_DEFAULT);
	if (r) {
		fprintf(stderr, "xylem reply: cannot run COMMAND: %s\n", strerror(-r));
		return r;
	}
	whole = reply_run_child(reply, &child);
	if (whole)
		r = reply_send(reply, request, child.output, child.output_length);
	status = xy_child_stop(&child, !whole);
	if (whole && WIFEXITED(status) && WEXITSTATUS(status))
		fprintf(stderr, "xylem reply: COMMAND ended with status %d; its output was sent\n",
			WEXITSTATUS(status));
	else if (whole && WIFSIGNALED(status))
		fprintf(stderr,
			"xylem reply: COMMAND was killed by signal %d; its output was sent\n",
			WTERMSIG(status));
	return r;
}

static int reply_answer(struct reply *reply, const struct xy_message *message)
{
	struct xy_message request = *message;
	char *copy;
	int r;

	if (reply->echo)
		return reply_send(reply, message, message->data, message->length);

	copy = malloc(message->length + strlen(message->subject) + 1);
	if (!copy)
		return -ENOMEM;
	if (message->length)
		memcpy(copy, message->data, message->length);
	request.data = copy;
	request.subject = strcpy(copy + message->length, message->subject);
	r = reply_by_command(reply, &request);
	free(copy);
	return r;
}

static int reply_serve(struct reply *reply)
{
	struct xy_message message;
	bool warned = false;
	int r;

	while (!xy_stop_wanted() && (!reply->count || reply->progress.messages < reply->count)) {
		r = xy_client_next(reply->connect.client, 0, &message);
		if (r == -ETIMEDOUT || r == -EAGAIN) {
			xy_connect_wait(&reply->connect, -1, 0, -1);
			continue;
		}
		if (r == -EINTR)
			continue;
		if (r)
			return xy_connect_complain(&reply->connect, "connection", r);
		if (!message.reply_wanted && !message.correlation) {
			if (!warned)
				fprintf(stderr,
					"xylem reply: a message on %s wants no reply; such "
					"messages are ignored\n",
					message.subject);
			warned = true;
			continue;
		}
		xy_progress_add(&reply->progress, message.length);
		reply_answer(reply, &message);
	}
	return XY_CMD_OK;
}

static int reply_run(int argc, char **argv)
{
	struct xy_subscribe_options options = {.size = sizeof(options)};
	struct xy_subscription *subscription;
	struct reply reply = {0};
	int first, status;

	if (!xy_options_parse(&xy_command_reply, argc, argv, &reply, &first, &status))
		return status;
	if (reply.echo == (reply.command != NULL))
		return xy_options_complain(&xy_command_reply,
					   "say how to answer: either --echo or --command COMMAND");
	status = xy_connect_open(&reply.connect, &xy_command_reply);
	for (char **pattern = argv + first; *pattern && !status; pattern++) {
		int r;

		options.group = reply.group;
		r = xy_client_subscribe(reply.connect.client, *pattern, &options, &subscription);
		if (r)
			status = xy_connect_complain(&reply.connect, *pattern, r);
	}
	xy_progress_start(&reply.progress, false);
	if (!status)
		status = reply_serve(&reply);
	/* That a requester had left before its reply came is no failure of ours. */
	reply.connect.failed = false;
	if (!status)
		status = xy_connect_finish(&reply.connect);
	/* A signal is how a service ends. */
	if (status == XY_CMD_SIGNALLED)
		status = XY_CMD_OK;
	xy_progress_end(&reply.progress);
	xy_connect_close(&reply.connect);
	return status;
}

const struct xy_command xy_command_reply = {
	.name = "reply",
	.arguments = "PATTERN…",
	.summary = "answer requests with an echo or a command's output",
	.details =
		"COMMAND finds the subject in $XYLEM_SUBJECT and the requester's endpoint in\n"
		"$XYLEM_SOURCE. Requests are answered one after the other; start several with one\n"
		"--group to answer them side by side. Runs until a signal or --count ends it.\n\n"
		"  xylem reply --echo echo\n"
		"  xylem reply --command 'date -Ins' time.now\n",
	.options = reply_options,
	.positional_minimum = 1,
	.positional_maximum = 64,
	.run = reply_run,
};
