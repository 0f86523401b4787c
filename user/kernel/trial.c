/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The part of the doctor that a proxy runs before it attaches: verifying the programs is what takes
 * long, so it is done with the ones that are loaded already.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/bytes.h"
#include "kernel/ward.h"

#define TIMEOUT_MS 30000 /* for some milliseconds of work */
#define SLOTS      2u    /* that it takes: the first ones, nothing else is running */

static const struct xy_probe *const probes[] = {
	&xy_probe_population,
	&xy_probe_redirect,
	&xy_probe_order,
	&xy_probe_deadman,
	&xy_probe_credit,
	&xy_probe_gone,
	NULL,
};

static void map_empty(int fd, void *key)
{
	while (bpf_map_get_next_key(fd, NULL, key) == 0 && bpf_map_delete_elem(fd, key) == 0)
		;
}

/* What it has written; the sockets went with the child. */
static void wipe(struct xy_kernel *kernel, const struct xy_control *before)
{
	struct xy_flow_key flow;
	uint64_t endpoint;

	map_empty(kernel->claims_fd, &endpoint);
	map_empty(kernel->flows_fd, &flow);
	ring_buffer__consume(kernel->ring);
	memset(kernel->session, 0, SLOTS * sizeof(*kernel->session));
	*kernel->control = *before;
	xy_kernel_beat(kernel);
}

static void ignore(const struct xy_pressure *pressure, void *context)
{
	(void)pressure;
	(void)context;
}

/* The first finding that is not OK decides. */
static int conclude(struct xy_kernel *kernel, const struct xy_ward *ward, char *why,
		    size_t why_size)
{
	for (unsigned i = 0; i < ward->findings; i++) {
		const struct xy_finding *finding = &ward->finding[i];

		if (finding->verdict == XY_VERDICT_NO) {
			xy_why(why, why_size, "self-test of %s: %s", finding->name,
			       finding->reason);
			return -EOPNOTSUPP;
		}
		if (finding->verdict != XY_VERDICT_OK && !kernel->untried[0])
			xy_why(kernel->untried, sizeof(kernel->untried), "%s: %s", finding->name,
			       finding->reason);
	}
	return 0;
}

int xy_trial(struct xy_kernel *kernel, const char *cgroup, char *why, size_t why_size)
{
	/* The proxy is at home here: it will listen in this network namespace anyway. */
	static const struct xy_doctor_options options = {.here = true};
	const struct xy_control before = *kernel->control;
	struct xy_ward *ward;
	int error;

	if (kernel->slots.size < SLOTS) {
		xy_why(kernel->untried, sizeof(kernel->untried), "one lane is too few to try");
		return 0;
	}
	ward = xy_ward_new(&options);
	if (!ward) {
		xy_why(kernel->untried, sizeof(kernel->untried), "%s", strerror(errno));
		return 0;
	}
	xy_place_make(&ward->place, cgroup);
	ward->asked = true;
	ward->kernel = kernel;
	kernel->mark = ignore;
	error = xy_ward_run(ward, probes, true, TIMEOUT_MS);
	wipe(kernel, &before);
	if (error)
		xy_why(kernel->untried, sizeof(kernel->untried), "no process for it: %s",
		       strerror(-error));
	else
		error = conclude(kernel, ward, why, why_size);
	xy_ward_free(ward);
	return error;
}
