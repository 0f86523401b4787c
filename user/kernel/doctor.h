/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether this machine can carry lanes: each thing that they rest on is really done, with the
 * programs and maps that the proxy uses, between sockets made for it.
 *
 * It happens in a process of its own, in a network namespace and a cgroup of its own, so nothing of
 * the caller's is touched, and what hangs or dies is a finding, too. One thread.
 */
#ifndef XY_KERNEL_DOCTOR_H
#define XY_KERNEL_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XY_FINDINGS_MAX 20

enum xy_verdict {
	XY_VERDICT_OK,
	XY_VERDICT_DEGRADED, /* lanes work, with less of something */
	XY_VERDICT_NO,
	XY_VERDICT_UNTRIED, /* it could not be done here; says nothing about the machine */
};

struct xy_finding {
	const char *name; /* of the probe: one word, stable */
	bool needed;      /* NO means: no lanes */
	enum xy_verdict verdict;
	char reason[256]; /* what was seen, one line */
	char remedy[256]; /* what to do about it; "" with OK */
};

enum xy_lanes {
	XY_LANES_YES,
	XY_LANES_NO,      /* everything runs in user space */
	XY_LANES_UNKNOWN, /* something that they rest on could not be tried */
};

/* The running kernel against the point releases that close known bugs of sockmap. */
struct xy_kernel_version {
	char release[72]; /* uname -r */
	char version[24]; /* A.B.C of the source it was built from; distributions hide it */
	char floor[24];   /* "" = none known for its series */
	bool below;       /* the floor, or 5.10 */
};

struct xy_examination {
	struct xy_kernel_version kernel;
	unsigned findings;
	struct xy_finding finding[XY_FINDINGS_MAX];
};

struct xy_doctor_options {
	const char *cgroup;    /* that the proxy would attach to, as for xy_kernel_open() */
	uint32_t slots, flows; /* that the proxy would ask for; 0 = defaults */
	bool here;             /* where no network namespace can be made: on this one's loopback */
};

/* -errno: it cannot be tried at all, for want of memory or processes. */
int xy_doctor_run(const struct xy_doctor_options *options, struct xy_examination *ret_examination);

enum xy_lanes xy_doctor_lanes(const struct xy_examination *examination);
/* Whether all is as it should be: lanes, and nothing degraded. */
bool xy_doctor_content(const struct xy_examination *examination);
const char *xy_verdict_text(enum xy_verdict verdict); /* "ok", "degraded", "no", "untried" */

void xy_kernel_version(struct xy_kernel_version *ret_version);

#endif
