/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel side of an instance: programs, maps, slots, claims, flows.
 *
 * Everything of user space that touches BPF. Knows nothing of connections, subjects or routes.
 * Errors: 0 or -errno; xy_kernel_open() also tells why in words.
 *
 * Threads: open, close: one thread, nothing else running. claim: the acceptor. flow_*, grace,
 * recycle: the router's writer. adopt, discard: the owning loop. beat, redirect_switch, meter:
 * main. retire, bound, live, session: any (the slot table has a lock; it is control plane). The
 * records of the sessions map are shared with the programs; user/kernel/session.h says who may
 * write what.
 */
#ifndef XY_KERNEL_KERNEL_H
#define XY_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <xylem/maps.h>

struct xy_kernel;

/* A use of a slot. generation 0 = none. */
struct xy_slot {
	uint32_t slot;
	uint32_t generation;
};

/* An IPv4 or IPv6 address as the programs look for it. Any thread. */
struct xy_listener xy_kernel_listener(const struct sockaddr *address);

/* What xy_kernel_open() does, in this order. */
enum xy_kernel_step {
	XY_STEP_CGROUP,
	XY_STEP_PROGRAMS, /* and maps, and the programs attached to their sockmaps */
	XY_STEP_ARRAYS,
	XY_STEP_RING,
	XY_STEP_GRACE,
	XY_STEP_TRIAL,
	XY_STEP_POPULATION,
	XY_STEP_DONE,
};

struct xy_kernel_options {
	const char *instance; /* names the pin directory */
	const char *cgroup; /* v2 directory, pid:N, pod:UID, container:ID; NULL = own pod, or all */
	const char *bpffs;  /* NULL = /sys/fs/bpf, mounted when absent */
	const struct xy_listener *listener; /* plain-TCP listeners */
	uint32_t listeners;
	uint32_t slots; /* 0 = default */
	uint32_t flows; /* 0 = default */
	uint64_t window;
	uint64_t max_message; /* bytes of a fragmented message; 0 = XY_MESSAGE_MAX_DEFAULT */
	bool trial;    /* nothing is attached to the cgroup before the lanes have been tried */
	bool detached; /* attaches to no cgroup: whoever opens it puts sockets in by hand */
	enum xy_kernel_step *ret_step; /* the one that failed, or DONE; NULL = nobody asks */
};

/* Loads, tries if it is to, attaches and pins. On failure -errno and a sentence in why (what
 * failed, what to do). A smaller memlock limit shrinks slots and flows before it fails. */
int xy_kernel_open(const struct xy_kernel_options *options, struct xy_kernel **ret_kernel,
		   char *why, size_t why_size);
/* Detaches, unpins, and has everything pass: what must be done before the process ends. */
void xy_kernel_withdraw(struct xy_kernel *kernel);
void xy_kernel_unpin(struct xy_kernel *kernel); /* only the pins; also in a child */
/* Whether this thread may still change the maps, with the capabilities of now: 0, or -EPERM. */
int xy_kernel_usable(const struct xy_kernel *kernel);
/* As above, and frees; NULL is fine. */
void xy_kernel_close(struct xy_kernel *kernel);

/* Facts for status and logs. Strings live as long as the kernel. */
const char *xy_kernel_cgroup(const struct xy_kernel *kernel);
const char *xy_kernel_cgroup_why(const struct xy_kernel *kernel); /* for what reason that one */
const char *xy_kernel_pins(const struct xy_kernel *kernel);       /* NULL: lanes run unpinned … */
const char *xy_kernel_pins_why(const struct xy_kernel *kernel);   /* … and why */
uint32_t xy_kernel_slots(const struct xy_kernel *kernel);
uint32_t xy_kernel_slots_free(struct xy_kernel *kernel); /* of these, now; any thread */
uint32_t xy_kernel_flows(const struct xy_kernel *kernel);
/* Clients' sockets that could not be put into the sockmaps. Any thread. */
uint64_t xy_kernel_sockets_left(const struct xy_kernel *kernel);
const struct xy_control *xy_kernel_control(const struct xy_kernel *kernel); /* counters */
/* What the trial could not try, and why; "" = nothing. */
const char *xy_kernel_untried(const struct xy_kernel *kernel);

void xy_kernel_beat(struct xy_kernel *kernel); /* stamps the heartbeat */
void xy_kernel_redirect_switch(struct xy_kernel *kernel, bool on);
/* So many bytes may be redirected between clients until the next call; half-way the pressure ring
 * says so (XY_PRESSURE_MEMORY). UINT64_MAX: without limit. */
void xy_kernel_meter(struct xy_kernel *kernel, uint64_t bytes);

/* Takes the slot that has been free longest, gives it a new generation and writes the claim for
 * this endpoint. -ENOSPC: all slots in use. */
int xy_kernel_claim(struct xy_kernel *kernel, uint64_t endpoint, struct xy_slot *ret_slot);
/* Deletes the claim, whoever may still want it. Idempotent. */
void xy_kernel_unclaim(struct xy_kernel *kernel, uint64_t endpoint);
/* Whether a socket has taken the claim and both sockmap insertions of it succeeded. */
bool xy_kernel_bound(const struct xy_kernel *kernel, struct xy_slot slot);
/* Puts the proxy's end of a bound connection into proxy_sockets and makes the session live. From
 * here on every send on fd is redirected to the client, whole or not at all. -EBUSY: another eBPF
 * agent owns the socket. */
int xy_kernel_adopt(struct xy_kernel *kernel, struct xy_slot slot, int fd);
struct xy_session *xy_kernel_session(const struct xy_kernel *kernel, uint32_t slot);

/* Throws away what is queued on the client's socket, which is no redirect target any more (K10).
 * The loop, when it closes the connection. */
void xy_kernel_discard(const struct xy_kernel *kernel, struct xy_slot slot);

/* End of a slot's use, in three steps: retire (bumps the generation, state free: nothing redirects
 * from or to it any more), grace, recycle (resets the record, slot may be taken again). */
void xy_kernel_retire(struct xy_kernel *kernel, struct xy_slot slot);
void xy_kernel_recycle(struct xy_kernel *kernel, struct xy_slot slot);

/* Its `check` is filled in. -ENOSPC: the table is full (the caller evicts). */
int xy_kernel_flow_put(struct xy_kernel *kernel, const struct xy_flow *flow);
int xy_kernel_flow_delete(struct xy_kernel *kernel, const struct xy_flow_key *key); /* -ENOENT */
/* Returns when every program run that might have seen a deleted flow or an old generation is over.
 */
void xy_kernel_grace(struct xy_kernel *kernel);

/* Readable when receivers crossed marks; drain with pressure_read, on one thread. */
int xy_kernel_pressure_fd(const struct xy_kernel *kernel);
int xy_kernel_pressure_read(struct xy_kernel *kernel,
			    void (*mark)(const struct xy_pressure *pressure, void *context),
			    void *context);

#endif
