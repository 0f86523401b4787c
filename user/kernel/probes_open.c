/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Probes of what xy_kernel_open() does, step by step.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "kernel/ward.h"
#include "xylem.skel.h"

/* ---- cgroup ---------------------------------------------------------------------------------- */

static void probe_cgroup(struct xy_ward *ward, struct xy_finding *finding)
{
	char path[PATH_MAX], why[256];
	__u32 flags = 0, count = 0;
	int fd, error = xy_cgroup_open(ward->options->cgroup, &fd, path, why, sizeof(why));

	if (error) {
		xy_found_no(finding, "%s", why);
		return;
	}
	/* Where it may not be asked it cannot be attached to, and `programs` says why. */
	error = bpf_prog_query(fd, BPF_CGROUP_SOCK_OPS, 0, &flags, NULL, &count);
	close(fd);
	if (!error && count && !(flags & BPF_F_ALLOW_MULTI)) {
		xy_found_no(finding,
			    "%s has another agent's sock_ops program, which allows no "
			    "second one",
			    path);
		snprintf(finding->remedy, sizeof(finding->remedy),
			 "have that agent attach with BPF_F_ALLOW_MULTI, or stop it (bpftool "
			 "cgroup tree); or name another cgroup with --cgroup");
	} else if (!error && count)
		xy_found(finding, XY_VERDICT_OK,
			 "%s; %u sock_ops program%s attached to it already, side by side", path,
			 count, count == 1 ? " is" : "s are");
	else
		xy_found(finding, XY_VERDICT_OK, "%s", path);
}

const struct xy_probe xy_probe_cgroup = {
	.name = "cgroup",
	.needed = true,
	.remedy = "mount one (mount -t cgroup2 none /sys/fs/cgroup), or name another with --cgroup",
	.run = probe_cgroup,
};

/* ---- programs -------------------------------------------------------------------------------- */

/* What the kernel was built without, so that no right helps. */
static void remedy_of_configuration(struct xy_finding *finding)
{
	const char *lacks = NULL;

	if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SOCKET_FILTER, NULL) == 0)
		lacks = "CONFIG_BPF_SYSCALL";
	else if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_SOCKHASH, NULL) == 0 ||
		 libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SK_MSG, NULL) == 0)
		lacks = "CONFIG_BPF_STREAM_PARSER";
	else if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SOCK_OPS, NULL) == 0)
		lacks = "CONFIG_CGROUP_BPF";
	if (lacks)
		snprintf(finding->remedy, sizeof(finding->remedy),
			 "another kernel: this one seems to be built without %s", lacks);
}

static void probe_programs(struct xy_ward *ward, struct xy_finding *finding)
{
	char missing[64];

	if (xy_ward_opened(ward, XY_STEP_PROGRAMS, finding)) {
		xy_found(finding, XY_VERDICT_OK,
			 "client_established, client_verdict and proxy_verdict are loaded, the "
			 "latter two attached to their sockmaps");
	} else if (*xy_rights_missing(missing, sizeof(missing))) {
		snprintf(finding->remedy, sizeof(finding->remedy), "run it as root, or with %s",
			 missing);
	} else if (ward->error != -EPERM) {
		remedy_of_configuration(finding);
	}
}

const struct xy_probe xy_probe_programs = {
	.name = "programs",
	.needed = true,
	.remedy = "allow bpf(2): no seccomp filter, lockdown or security module in its way; before "
		  "5.11 also a higher RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=infinity)",
	.run = probe_programs,
};

/* ---- memlock --------------------------------------------------------------------------------- */

static int map_try(void)
{
	int fd =
		bpf_map_create(BPF_MAP_TYPE_ARRAY, "charge", sizeof(__u32), sizeof(__u64), 1, NULL);

	if (fd >= 0)
		close(fd);
	return fd;
}

bool xy_maps_are_charged(void)
{
	struct rlimit none = {0}, limit;
	int with, without;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return false;
	none.rlim_max = limit.rlim_max;
	with = map_try();
	setrlimit(RLIMIT_MEMLOCK, &none);
	without = map_try();
	setrlimit(RLIMIT_MEMLOCK, &limit);
	return with >= 0 && without == -EPERM;
}

static void probe_memlock(struct xy_ward *ward, struct xy_finding *finding)
{
	const struct xy_doctor_options *options = ward->options;
	uint32_t slots, flows;

	xy_ward_open(ward);
	if (!ward->kernel) {
		if (ward->charged && ward->step == XY_STEP_PROGRAMS)
			xy_found_no(finding, "not even few lanes fit into RLIMIT_MEMLOCK");
		else
			xy_found_blocked(finding);
		return;
	}
	slots = xy_kernel_slots(ward->kernel);
	flows = xy_kernel_flows(ward->kernel);
	xy_found(finding,
		 slots < options->slots || flows < options->flows ? XY_VERDICT_DEGRADED
								  : XY_VERDICT_OK,
		 "%u of %u lanes and %u of %u flows fit; maps are %s", slots, options->slots, flows,
		 options->flows,
		 ward->charged ? "charged to RLIMIT_MEMLOCK, as before 5.11"
			       : "not charged to RLIMIT_MEMLOCK");
	if (!ward->charged)
		snprintf(finding->remedy, sizeof(finding->remedy),
			 "more memory (of the cgroup), or fewer --lanes and --flows");
}

const struct xy_probe xy_probe_memlock = {
	.name = "memlock",
	.remedy = "a higher RLIMIT_MEMLOCK (ulimit -l unlimited, LimitMEMLOCK=infinity, or "
		  "CAP_SYS_RESOURCE), or fewer --lanes and --flows",
	.run = probe_memlock,
};

/* ---- arrays, ring, grace --------------------------------------------------------------------- */

static void probe_arrays(struct xy_ward *ward, struct xy_finding *finding)
{
	uint64_t stamp = 0;
	uint32_t first = 0;
	struct xy_control control;

	if (!xy_ward_opened(ward, XY_STEP_ARRAYS, finding))
		return;
	if (!ward->kernel) {
		xy_found(finding, XY_VERDICT_OK, "sessions and control are mapped");
		return;
	}
	/* What is written through the mapping, the system call must see. */
	xy_kernel_beat(ward->kernel);
	stamp = ward->kernel->control->heartbeat;
	if (bpf_map_lookup_elem(bpf_map__fd(ward->kernel->bpf->maps.control), &first, &control) ||
	    control.heartbeat != stamp) {
		xy_found_no(finding, "what is written through a mapped array is not in the map");
		return;
	}
	xy_found(finding, XY_VERDICT_OK, "sessions and control are mapped and shared");
}

const struct xy_probe xy_probe_arrays = {
	.name = "arrays",
	.needed = true,
	.remedy = "Linux 5.5 or newer, and address space for the sessions (fewer --lanes)",
	.run = probe_arrays,
};

static void probe_ring(struct xy_ward *ward, struct xy_finding *finding)
{
	if (xy_ward_opened(ward, XY_STEP_RING, finding))
		xy_found(finding, XY_VERDICT_OK, "the ring buffer of marks is mapped");
}

const struct xy_probe xy_probe_ring = {
	.name = "ring",
	.needed = true,
	.remedy = "Linux 5.8 or newer",
	.run = probe_ring,
};

static void probe_grace(struct xy_ward *ward, struct xy_finding *finding)
{
	if (!xy_ward_opened(ward, XY_STEP_GRACE, finding))
		return;
	if (ward->kernel)
		xy_kernel_grace(ward->kernel);
	xy_found(finding, XY_VERDICT_OK, "running programs are waited for by %s",
		 !ward->kernel || ward->kernel->grace.membarrier
			 ? "membarrier"
			 : "updates of a map in a map, as membarrier is refused");
}

const struct xy_probe xy_probe_grace = {
	.name = "grace",
	.needed = true,
	.remedy = "allow membarrier(2), or maps in maps",
	.run = probe_grace,
};

/* ---- pins ------------------------------------------------------------------------------------ */

static void probe_pins(struct xy_ward *ward, struct xy_finding *finding)
{
	if (!xy_ward_opened(ward, XY_STEP_DONE, finding))
		return;
	if (ward->pinned)
		xy_found(finding, XY_VERDICT_OK, "data maps can be pinned for bpftool");
	else
		xy_found(finding, XY_VERDICT_DEGRADED, "lanes run, but bpftool cannot look: %s",
			 ward->why);
}

const struct xy_probe xy_probe_pins = {
	.name = "pins",
	.remedy = "mount a bpffs that it may write to (mount -t bpf bpf /sys/fs/bpf)",
	.run = probe_pins,
};
