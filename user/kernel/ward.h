/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where probes run: a child process in a place of its own, and what they find, in memory that the
 * child shares with the process that waits for it.
 *
 * A probe is a function that does one thing and says what it saw. It starts out as NO, so that
 * only one which comes to its end is anything better.
 */
#ifndef XY_KERNEL_WARD_H
#define XY_KERNEL_WARD_H

#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernel/doctor.h"
#include "kernel/internal.h"

/* ---- place.c: a network namespace and a cgroup that nobody else is in -------------------------
 */

struct xy_place {
	char cgroup[PATH_MAX]; /* "" = none, and … */
	char no_cgroup[256];   /* … why */
	char no_network[256];  /* "" = it has a network namespace of its own */
	char memory[PATH_MAX]; /* a cgroup v1 of the memory controller, when one was made */
};

/* Makes a directory below this cgroup v2 directory; NULL: none can be had, place->no_cgroup is
 * filled in already. */
void xy_place_make(struct xy_place *place, const char *below);
/* Moves the calling process; there is no way back. */
void xy_place_enter(struct xy_place *place);
int xy_place_network(void); /* into a new network namespace, its loopback up */
/* Into a memory cgroup (v1) whose sockets may hold so many bytes. -errno: there is none. */
int xy_place_memory(struct xy_place *place, uint64_t limit);
void xy_place_remove(const struct xy_place *place); /* when nobody is in it any more */

/* ---- dummy.c: a connection, both ends of it ours ----------------------------------------------
 */

/* Where dummies connect to. */
struct xy_door {
	int fd;
	struct sockaddr_storage address;
	socklen_t length;
};

struct xy_dummy {
	int fd;    /* the client's */
	int proxy; /* the proxy's */
	uint64_t endpoint;
	struct xy_slot slot;
	struct xy_session *session;
	uint64_t sequence; /* of the last DATA */
};

struct xy_ward {
	const struct xy_doctor_options *options;
	struct xy_place place;
	bool here;   /* without a network namespace of its own: on the caller's loopback */
	bool yields; /* ends early for a signal that is blocked and waits */

	/* The kernel side: opened by the first probe that asks, unless it was before. */
	struct xy_kernel *kernel;
	bool asked;
	int error;
	enum xy_kernel_step step; /* where it failed */
	char why[512];            /* … and why; of one that is open: why it is unpinned */
	bool pinned;              /* data maps could be */
	bool charged;             /* maps are, to RLIMIT_MEMLOCK */

	struct xy_door door;
	struct xy_dummy from, to; /* fd 0 = not there */
	uint64_t endpoints;       /* given so far */

	unsigned findings;
	struct xy_finding finding[XY_FINDINGS_MAX];
};

/* These return false after a finding that says why. */
bool xy_door_open(struct xy_door *door, int family, struct xy_finding *finding);
bool xy_dummy_connect(struct xy_ward *ward, const struct xy_door *door, struct xy_dummy *dummy,
		      struct xy_finding *finding);
/* SYNC takes the claim. */
bool xy_dummy_bind(struct xy_ward *ward, struct xy_dummy *dummy, struct xy_finding *finding);
/* The proxy's end goes into its sockmap, and SYNCED comes by redirect. */
bool xy_dummy_adopt(struct xy_ward *ward, struct xy_dummy *dummy, struct xy_finding *finding);
bool xy_dummy_open(struct xy_ward *ward, const struct xy_door *door, struct xy_dummy *dummy,
		   struct xy_finding *finding); /* all three */
void xy_dummy_close(struct xy_dummy *dummy);

#define XY_DUMMY_TARGET 7 /* what dummies publish to */

/* `frames` DATA frames of `size` bytes in one send. */
bool xy_dummy_send(struct xy_dummy *dummy, unsigned frames, uint32_t size,
		   struct xy_finding *finding);
int xy_dummy_try(struct xy_dummy *dummy, uint32_t size); /* one; -errno of send */
/* The next `frames` of `from` come out of this socket, whole, in order, from `sequence` on. */
bool xy_dummy_expect(int fd, const struct xy_dummy *from, uint64_t sequence, unsigned frames,
		     uint32_t size, struct xy_finding *finding);
/* A frame as the proxy hands it on: what it has read of `from`, to the end of `to`. */
bool xy_dummy_deliver(const struct xy_dummy *from, uint64_t sequence, uint32_t size,
		      const struct xy_dummy *to, struct xy_finding *finding);
/* Says to have consumed all that was sent to it; the proxy reads that. */
bool xy_dummy_ack(const struct xy_dummy *dummy, struct xy_finding *finding);
int xy_dummy_flow(const struct xy_ward *ward, const struct xy_dummy *from,
		  const struct xy_dummy *to);

/* ---- ward.c ---------------------------------------------------------------------------------- */

struct xy_probe {
	const char *name, *remedy;
	bool needed;
	void (*run)(struct xy_ward *ward, struct xy_finding *finding);
};

struct xy_ward *xy_ward_new(const struct xy_doctor_options *options); /* NULL with errno */
void xy_ward_free(struct xy_ward *ward);                              /* NULL is fine */
/* In a child in a place of its own: each probe, or until one says NO; the rest is untried. -errno:
 * no child. */
int xy_ward_run(struct xy_ward *ward, const struct xy_probe *const *probes, bool stop_at_no,
		int timeout_ms);

__attribute__((format(printf, 3, 4))) void
xy_found(struct xy_finding *finding, enum xy_verdict verdict, const char *reason, ...);
__attribute__((format(printf, 2, 3))) bool xy_found_no(struct xy_finding *finding,
						       const char *reason, ...); /* false */
__attribute__((format(printf, 3, 4))) bool xy_found_untried(struct xy_finding *finding,
							    const char *remedy, const char *reason,
							    ...); /* false */
bool xy_found_blocked(struct xy_finding *finding); /* by a probe that said no; false */
/* Both ends of a pair, opened once and used by one probe after the other; a probe that fails leaves
 * streams that nobody knows the state of, so the next gets new ones. */
bool xy_ward_pair(struct xy_ward *ward, struct xy_finding *finding);
/* Whether there is a kernel side and a network to try it in; if not, the finding says so. */
bool xy_ward_ready(struct xy_ward *ward, struct xy_finding *finding);
/* Before 5.11 maps count against RLIMIT_MEMLOCK: found out by trying without one. To be asked
 * first: what a failed load had locked is given back a little later. */
bool xy_maps_are_charged(void);
void xy_ward_open(struct xy_ward *ward); /* the kernel side, once */
/* Whether opening came through this step; if not, the finding says so. */
bool xy_ward_opened(struct xy_ward *ward, enum xy_kernel_step step, struct xy_finding *finding);

/* ---- the probes: probes_open.c, probes_lane.c, probes_world.c ---------------------------------
 */

extern const struct xy_probe xy_probe_cgroup, xy_probe_programs, xy_probe_memlock, xy_probe_arrays,
	xy_probe_ring, xy_probe_grace, xy_probe_pins;
extern const struct xy_probe xy_probe_population, xy_probe_redirect, xy_probe_order,
	xy_probe_deadman, xy_probe_credit, xy_probe_gone;
extern const struct xy_probe xy_probe_foreign, xy_probe_ipv6, xy_probe_namespaces, xy_probe_memory;

#endif
