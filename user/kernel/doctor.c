/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernel/doctor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "kernel/ward.h"

#define TIMEOUT_MS 180000 /* an emulated machine verifies the programs for a while */

/* In the order in which each rests on those before it. `namespaces` leaves the network namespace,
 * and `memory` the memory cgroup. */
static const struct xy_probe *const probes[] = {
	&xy_probe_cgroup,     &xy_probe_programs,   &xy_probe_memlock,
	&xy_probe_arrays,     &xy_probe_ring,       &xy_probe_grace,
	&xy_probe_pins,       &xy_probe_population, &xy_probe_redirect,
	&xy_probe_order,      &xy_probe_deadman,    &xy_probe_credit,
	&xy_probe_gone,       &xy_probe_foreign,    &xy_probe_ipv6,
	&xy_probe_namespaces, &xy_probe_memory,     NULL,
};
_Static_assert(XY_ARRAY_SIZE(probes) <= XY_FINDINGS_MAX, "a probe without a finding");

static void place_make(struct xy_ward *ward)
{
	char path[PATH_MAX];
	int fd, error;

	error = xy_cgroup_open(ward->options->cgroup, &fd, path, ward->place.no_cgroup,
			       sizeof(ward->place.no_cgroup));
	if (!error)
		close(fd);
	xy_place_make(&ward->place, error ? NULL : path);
}

int xy_doctor_run(const struct xy_doctor_options *options, struct xy_examination *ret_examination)
{
	struct xy_ward *ward = xy_ward_new(options);
	sigset_t all, before;
	int error;

	if (!ward)
		return -errno;
	/* A signal must not leave the cgroup behind: it waits until all is taken away. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	ward->yields = true;
	place_make(ward);
	error = xy_ward_run(ward, probes, false, TIMEOUT_MS);
	if (!error) {
		xy_kernel_version(&ret_examination->kernel);
		ret_examination->findings = ward->findings;
		memcpy(ret_examination->finding, ward->finding, sizeof(ward->finding));
	}
	xy_ward_free(ward);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return error;
}

enum xy_lanes xy_doctor_lanes(const struct xy_examination *examination)
{
	enum xy_lanes lanes = XY_LANES_YES;

	for (unsigned i = 0; i < examination->findings; i++) {
		const struct xy_finding *finding = &examination->finding[i];

		if (finding->needed && finding->verdict == XY_VERDICT_NO)
			return XY_LANES_NO;
		if (finding->needed && finding->verdict == XY_VERDICT_UNTRIED)
			lanes = XY_LANES_UNKNOWN;
	}
	return lanes;
}

bool xy_doctor_content(const struct xy_examination *examination)
{
	for (unsigned i = 0; i < examination->findings; i++)
		if (examination->finding[i].verdict == XY_VERDICT_DEGRADED ||
		    examination->finding[i].verdict == XY_VERDICT_NO)
			return false;
	return xy_doctor_lanes(examination) == XY_LANES_YES;
}

const char *xy_verdict_text(enum xy_verdict verdict)
{
	static const char *const texts[] = {"ok", "degraded", "no", "untried"};

	return texts[verdict];
}
