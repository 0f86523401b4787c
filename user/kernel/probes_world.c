/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Probes of lanes in company: other agents, other address families and network namespaces, and
 * receivers at a limit of memory.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include <xylem/wire.h>

#include "base/bytes.h"
#include "kernel/ward.h"

#define FRAME 1000

/* ---- foreign --------------------------------------------------------------------------------- */

/* Another agent's: a sockhash with an sk_msg program of its own, and this socket in it. */
static int foreign_take(int fd)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = SK_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	uint64_t key = 1, value = (uint64_t)fd;
	int map, program, error;

	map = bpf_map_create(BPF_MAP_TYPE_SOCKHASH, "foreign", sizeof(key), sizeof(value), 1, NULL);
	if (map < 0)
		return map;
	program = bpf_prog_load(BPF_PROG_TYPE_SK_MSG, "foreign", "GPL", pass, XY_ARRAY_SIZE(pass),
				NULL);
	if (program < 0)
		return program;
	error = bpf_prog_attach(program, map, BPF_SK_MSG_VERDICT, 0);
	return error ? error : bpf_map_update_elem(map, &key, &value, BPF_ANY);
}

static void probe_foreign(struct xy_ward *ward, struct xy_finding *finding)
{
	struct xy_dummy dummy;
	int error;

	if (!xy_ward_ready(ward, finding) || !xy_dummy_connect(ward, &ward->door, &dummy, finding))
		return;
	error = foreign_take(dummy.proxy);
	if (error) {
		xy_found_no(finding, "another agent cannot be played: %s", strerror(-error));
		return;
	}
	if (!xy_dummy_bind(ward, &dummy, finding))
		return;
	error = xy_kernel_adopt(ward->kernel, dummy.slot, dummy.proxy);
	if (error != -EBUSY) {
		xy_found_no(finding, "a socket with another agent's program was not refused: %s",
			    error ? strerror(-error) : "no error");
		return;
	}
	if (xy_dummy_send(&dummy, 1, FRAME, finding) &&
	    xy_dummy_expect(dummy.proxy, &dummy, 1, 1, FRAME, finding))
		xy_found(finding, XY_VERDICT_OK,
			 "a socket with another agent's program is refused (EBUSY), and works "
			 "without a lane");
}

const struct xy_probe xy_probe_foreign = {
	.name = "foreign",
	.needed = true,
	.remedy = "a newer kernel; two programs on one socket are not safe",
	.run = probe_foreign,
};

/* ---- ipv6, namespaces ------------------------------------------------------------------------ */

/* A frame from one to the other, whole. */
static bool exchange(const struct xy_ward *ward, struct xy_dummy *from, struct xy_dummy *to,
		     struct xy_finding *finding)
{
	uint64_t frames = from->session->frames;
	int error = xy_dummy_flow(ward, from, to);

	if (error)
		return xy_found_no(finding, "no flow can be installed: %s", strerror(-error));
	if (!xy_dummy_send(from, 1, FRAME, finding))
		return false;
	if (from->session->frames == frames)
		return xy_found_no(finding, "the kernel left a send to the proxy");
	return xy_dummy_expect(to->fd, from, from->sequence, 1, FRAME, finding);
}

static void probe_ipv6(struct xy_ward *ward, struct xy_finding *finding)
{
	struct xy_dummy from = {0}, to = {0};
	struct xy_door door;

	if (!xy_ward_ready(ward, finding))
		return;
	if (!xy_door_open(&door, AF_INET6, finding)) {
		finding->verdict = XY_VERDICT_DEGRADED;
		return;
	}
	if (xy_dummy_open(ward, &door, &from, finding) &&
	    xy_dummy_open(ward, &door, &to, finding) && exchange(ward, &from, &to, finding))
		xy_found(finding, XY_VERDICT_OK, "clients that come by ::1 have lanes");
	close(door.fd);
	xy_dummy_close(&from);
	xy_dummy_close(&to);
}

const struct xy_probe xy_probe_ipv6 = {
	.name = "ipv6",
	.remedy = "IPv6 in the kernel and on the loopback device "
		  "(sysctl net.ipv6.conf.lo.disable_ipv6=0); until then clients use IPv4",
	.run = probe_ipv6,
};

/* After it this process is in another network namespace, with another loopback. */
static void probe_namespaces(struct xy_ward *ward, struct xy_finding *finding)
{
	struct xy_dummy from = {0}, to = {0};
	struct xy_door door;
	int error;

	if (!xy_ward_ready(ward, finding) || !xy_dummy_open(ward, &ward->door, &from, finding))
		return;
	error = xy_place_network();
	if (error) {
		xy_found_untried(finding, "run it as root, outside of a container",
				 "no network namespace can be made: %s", strerror(-error));
		return;
	}
	close(ward->door.fd);
	ward->door.fd = 0;
	if (xy_door_open(&door, AF_INET, finding) && xy_dummy_open(ward, &door, &to, finding) &&
	    exchange(ward, &from, &to, finding) && exchange(ward, &to, &from, finding))
		xy_found(finding, XY_VERDICT_OK,
			 "clients of two network namespaces reach each other, both ways");
	xy_dummy_close(&from);
	xy_dummy_close(&to);
	ward->door = door;
}

const struct xy_probe xy_probe_namespaces = {
	.name = "namespaces",
	.remedy = "a newer kernel; until then one proxy in each network namespace",
	.run = probe_namespaces,
};

/* ---- memory ---------------------------------------------------------------------------------- */

#define LIMIT        300000
#define LIMIT_FRAME  50000
#define LIMIT_FRAMES (8 * LIMIT / LIMIT_FRAME)

/*
 * A receiver whose sockets may hold little (K15): a redirect is whole or fails. cgroup v1 only,
 * where the limit of sockets is one of its own; with v2 it would be reached by an OOM kill.
 */
static void probe_memory(struct xy_ward *ward, struct xy_finding *finding)
{
	struct xy_dummy from = {0}, to = {0};
	unsigned taken = 0;
	int error;

	if (!xy_ward_ready(ward, finding) || !xy_dummy_open(ward, &ward->door, &from, finding))
		return;
	error = xy_place_memory(&ward->place, LIMIT);
	if (error) {
		xy_found_untried(
			finding,
			"none is needed; it is tried where cgroup v1 has the memory controller",
			"no memory cgroup of v1 that counts sockets: %s", strerror(-error));
		finding->needed = false; /* nor can it happen here */
		return;
	}
	if (!xy_dummy_open(ward, &ward->door, &to, finding))
		return;
	error = xy_dummy_flow(ward, &from, &to);
	if (error) {
		xy_found_no(finding, "no flow can be installed: %s", strerror(-error));
		return;
	}
	__atomic_store_n(&to.session->window, (uint64_t)2 * LIMIT_FRAMES * LIMIT_FRAME,
			 __ATOMIC_RELAXED);
	while (taken < LIMIT_FRAMES && !(error = xy_dummy_try(&from, LIMIT_FRAME)))
		taken++;
	if (error && error != -ENOMEM) {
		xy_found_no(finding, "a send to a receiver without memory failed: %s",
			    strerror(-error));
		return;
	}
	if (from.session->passed) {
		xy_found_no(finding, "a part of a frame was redirected, and the rest was not");
		return;
	}
	for (unsigned i = 0; i < taken; i++)
		if (!xy_dummy_expect(to.fd, &from, i + 1, 1, LIMIT_FRAME, finding))
			return;
	if (!error) {
		xy_found_untried(finding, "none is needed", "this kernel does not keep the limit");
		finding->needed = false;
	} else {
		xy_found(
			finding, XY_VERDICT_OK,
			"%u whole frames were redirected to a receiver that may hold %u bytes, the "
			"next send failed (ENOMEM)",
			taken, LIMIT);
	}
}

const struct xy_probe xy_probe_memory = {
	.name = "memory",
	.needed = true,
	.remedy = "a newer kernel; lanes whose frames may be cut are not used",
	.run = probe_memory,
};
