/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem status: what a proxy does, by its admin socket.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/admin.h"
#include "cmd/commands.h"
#include "cmd/show.h"
#include "cmd/stop.h"

struct status {
	struct xy_admin_where where;
	const char *section;
	bool json, ready, watched;
	uint64_t watch_ms;
};

static const struct xy_option status_options[] = {
	{.name = "json",
	 .letter = 'j',
	 .kind = XY_OPTION_FLAG,
	 .help = "print the JSON object, on one line",
	 .offset = offsetof(struct status, json)},
	{.name = "watch",
	 .letter = 'w',
	 .kind = XY_OPTION_DURATION,
	 .optional = true,
	 .argument = "INTERVAL",
	 .help = "again and again, with rates, until a signal",
	 .fallback = "1s",
	 .offset = offsetof(struct status, watch_ms),
	 .given = offsetof(struct status, watched)},
	{.name = "ready",
	 .kind = XY_OPTION_FLAG,
	 .help = "for probes: print nothing, end with 0 if the proxy takes connections, else with "
		 "1",
	 .offset = offsetof(struct status, ready)},
	XY_ADMIN_OPTIONS(struct status, where),
	{0},
};

/* 0, a probe's answer otherwise. */
static int status_probe(struct status *status)
{
	json_t *answer;
	bool ready;

	if (xy_admin_locate(&xy_command_status, &status->where))
		return 1;
	if (xy_admin_ask(&status->where, "ready", &answer))
		return 1;
	ready = json_is_true(json_object_get(answer, "ready"));
	json_decref(answer);
	return ready ? 0 : 1;
}

static int status_print(const struct status *status, const json_t *answer, const json_t *before,
			double seconds)
{
	if (status->json) {
		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		/* Home, and what is left below is cleared: no flicker. */
		if (status->watched && isatty(STDOUT_FILENO))
			fputs("\033[H\033[J", stdout);
		else if (before)
			putchar('\n');
		xy_show(answer, status->section, before, seconds);
	}
	errno = 0;
	if (fflush(stdout) && errno != EPIPE) {
		fprintf(stderr, "xylem status: standard output: %s\n", strerror(errno));
		return XY_CMD_FAILURE;
	}
	return ferror(stdout) ? XY_CMD_SIGNALLED : XY_CMD_OK;
}

static int status_show(struct status *status)
{
	json_t *before = NULL, *answer;
	uint64_t asked_ns, before_ns = 0;
	int r;

	for (;;) {
		struct pollfd polled = {.fd = xy_stop_fd(), .events = POLLIN};

		r = xy_admin_ask(&status->where, "status", &answer);
		if (r) {
			r = xy_admin_complain(&xy_command_status, &status->where, r);
			break;
		}
		asked_ns = xy_clock_ns();
		r = status_print(status, answer, before,
				 (double)(asked_ns - before_ns) / XY_NS_PER_S);
		json_decref(before);
		before = answer;
		before_ns = asked_ns;
		if (r || !status->watched)
			break;
		poll(&polled, 1, (int)status->watch_ms);
		if (xy_stop_wanted())
			break;
	}
	json_decref(before);
	/* A signal, or a reader that had enough, is how watching ends. */
	return status->watched && r == XY_CMD_SIGNALLED ? XY_CMD_OK : r;
}

static int status_run(int argc, char **argv)
{
	struct status status = {0};
	int first, r;

	if (!xy_options_parse(&xy_command_status, argc, argv, &status, &first, &r))
		return r;
	status.section = argv[first];
	if (status.section && !xy_show_section_known(status.section))
		return xy_options_complain(&xy_command_status, "no section '%s'; there are %s",
					   status.section, XY_SHOW_SECTIONS);
	r = xy_stop_install();
	if (r) {
		fprintf(stderr, "xylem status: %s\n", strerror(-r));
		return XY_CMD_FAILURE;
	}
	if (status.ready)
		return status_probe(&status);
	r = xy_admin_locate(&xy_command_status, &status.where);
	return r ? r : status_show(&status);
}

const struct xy_command xy_command_status = {
	.name = "status",
	.arguments = "[SECTION]",
	.summary = "show a proxy's connections, lanes, flows and subjects",
	.details =
		"SECTION is one of " XY_SHOW_SECTIONS ".\n"
		"\n"
		"Of connections, KERNEL and PROXY count the frames that the client sent, by who "
		"moved\n"
		"them; GOT:KERNEL and GOT:PROXY those that it received. WHY BY THE PROXY names "
		"the\n"
		"reasons why the kernel left frames to the proxy (docs/MAPS.md explains each).\n"
		"Slow is a receiver that publishers wait for, that has a full buffer, or that "
		"something\n"
		"was dropped for in the last 10 s: HELD in the proxy, OUTSTANDING in its lane.\n\n"
		"  xylem status --watch\n"
		"  xylem status --json | python3 -m json.tool\n",
	.options = status_options,
	.positional_minimum = 0,
	.positional_maximum = 1,
	.run = status_run,
};
