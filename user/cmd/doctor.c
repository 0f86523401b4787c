/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem doctor: whether this machine can carry lanes, and if not, what is missing.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/table.h"
#include "edge/confine.h"
#include "kernel/doctor.h"

/* The status: 0 all is well, 1 something is not, 2 nothing could be tried. */
#define XY_DOCTOR_CANNOT XY_CMD_USAGE

struct doctor {
	const char *cgroup;
	uint64_t lanes, flows;
	bool json, here;
};

static const struct xy_option doctor_options[] = {
	{.name = "json",
	 .letter = 'j',
	 .kind = XY_OPTION_FLAG,
	 .help = "print a JSON object, on one line",
	 .offset = offsetof(struct doctor, json)},
	{.name = "cgroup",
	 .letter = 'c',
	 .kind = XY_OPTION_TEXT,
	 .argument = "DIR|all|pod:UID|container:ID|pid:N",
	 .help = "cgroup v2 that 'xylem serve' is to have, chosen in the same way",
	 .offset = offsetof(struct doctor, cgroup)},
	{.name = "lanes",
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "as 'xylem serve' is to have them",
	 .fallback = "4096",
	 .offset = offsetof(struct doctor, lanes),
	 .minimum = 1,
	 .maximum = 1000000},
	{.name = "flows",
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "as 'xylem serve' is to have them",
	 .fallback = "16384",
	 .offset = offsetof(struct doctor, flows),
	 .minimum = 1,
	 .maximum = 1000000},
	{.name = "here",
	 .kind = XY_OPTION_FLAG,
	 .help = "where no network namespace can be made, try it on the loopback of this one",
	 .offset = offsetof(struct doctor, here)},
	{0},
};

static const char *lanes_text(enum xy_lanes lanes)
{
	static const char *const texts[] = {"yes", "no", "unknown"};

	return texts[lanes];
}

static void warning_text(const struct xy_kernel_version *kernel, char *text, size_t size)
{
	text[0] = '\0';
	if (kernel->below)
		snprintf(text, size,
			 "Linux %s is older than %s: known bugs of sockmap may be open, unless the "
			 "distribution has closed them",
			 kernel->version, kernel->floor);
}

/* ---- as JSON --------------------------------------------------------------------------------- */

static json_t *kernel_json(const struct xy_kernel_version *kernel)
{
	return json_pack("{s:s, s:s, s:s, s:b}", "release", kernel->release, "version",
			 kernel->version, "floor", kernel->floor, "below_floor", kernel->below);
}

static int print_json(const struct xy_examination *examination, const char *warning, int status)
{
	json_t *probes = json_array(), *object;

	for (unsigned i = 0; i < examination->findings; i++) {
		const struct xy_finding *finding = &examination->finding[i];

		json_array_append_new(probes,
				      json_pack("{s:s, s:b, s:s, s:s, s:s}", "name", finding->name,
						"needed", finding->needed, "verdict",
						xy_verdict_text(finding->verdict), "reason",
						finding->reason, "remedy", finding->remedy));
	}
	object = json_pack("{s:s, s:o, s:s, s:i, s:o, s:[s*]}", "version", XY_VERSION, "kernel",
			   kernel_json(&examination->kernel), "lanes",
			   lanes_text(xy_doctor_lanes(examination)), "status", status, "probes",
			   probes, "warnings", *warning ? warning : NULL);
	if (!object || json_dumpf(object, stdout, JSON_COMPACT)) {
		fputs("xylem doctor: out of memory\n", stderr);
		json_decref(object);
		return XY_DOCTOR_CANNOT;
	}
	json_decref(object);
	putchar('\n');
	return status;
}

/* ---- for people ------------------------------------------------------------------------------ */

static void print_table(const struct xy_examination *examination, const char *warning)
{
	static const char *const meaning[] = {
		"yes: the kernel can move messages here",
		"no: everything works, in user space",
		"unknown: what they rest on could not all be tried",
	};
	struct xy_table table;

	printf("Linux %s (%s)\n\n", examination->kernel.release, examination->kernel.version);
	xy_table_init(&table, "PROBE", "VERDICT", "SEEN", NULL);
	for (unsigned i = 0; i < examination->findings; i++) {
		const struct xy_finding *finding = &examination->finding[i];

		xy_table_add(&table, "%s", finding->name);
		xy_table_add(&table, "%s", xy_verdict_text(finding->verdict));
		xy_table_add(&table, "%s", finding->reason);
		if (!finding->remedy[0])
			continue;
		xy_table_add(&table, "%s", "");
		xy_table_add(&table, "%s", "");
		xy_table_add(&table, "remedy: %s", finding->remedy);
	}
	xy_table_print(&table);
	printf("\nLanes: %s\n", meaning[xy_doctor_lanes(examination)]);
	if (*warning)
		printf("Warning: %s\n", warning);
}

static int doctor_run(int argc, char **argv)
{
	struct doctor doctor = {0};
	struct xy_doctor_options options = {0};
	struct xy_examination examination = {0};
	char warning[256];
	int first, r, status;

	if (!xy_options_parse(&xy_command_doctor, argc, argv, &doctor, &first, &r))
		return r;
	options.cgroup = doctor.cgroup;
	options.slots = (uint32_t)doctor.lanes;
	options.flows = (uint32_t)doctor.flows;
	options.here = doctor.here;
	r = xy_doctor_run(&options, &examination);
	if (r) {
		fprintf(stderr, "xylem doctor: nothing can be tried: %s\n", strerror(-r));
		return XY_DOCTOR_CANNOT;
	}
	if (examination.findings < XY_FINDINGS_MAX)
		xy_confine_try(&examination.finding[examination.findings++]);
	status = xy_doctor_content(&examination) ? XY_CMD_OK : XY_CMD_FAILURE;
	warning_text(&examination.kernel, warning, sizeof(warning));
	if (doctor.json)
		status = print_json(&examination, warning, status);
	else
		print_table(&examination, warning);
	if (fflush(stdout)) {
		fprintf(stderr, "xylem doctor: standard output: %s\n", strerror(errno));
		return XY_DOCTOR_CANNOT;
	}
	return status;
}

const struct xy_command xy_command_doctor = {
	.name = "doctor",
	.arguments = "",
	.summary = "try whether this machine can carry lanes, and say what is missing",
	.details =
		"Everything is really done, with the programs that 'xylem serve' uses, between "
		"sockets in\n"
		"a network namespace and a cgroup that are made for it and go with it. Verdicts: "
		"ok;\n"
		"degraded, lanes with less of something; no; untried, it could not be done "
		"here.\n\n"
		"Exit status: 0 lanes, and all is well; 1 something is not, or there are no "
		"lanes\n"
		"(everything works, in user space); 2 nothing could be tried, or a wrong "
		"option.\n\n"
		"  xylem doctor\n"
		"  xylem doctor --json | python3 -m json.tool\n",
	.options = doctor_options,
	.positional_minimum = 0,
	.positional_maximum = 0,
	.run = doctor_run,
};
