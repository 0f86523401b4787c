/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the threads of one proxy share. Everything here is set before they start and read-only
 * afterwards, or atomic.
 */
#ifndef XY_CORE_CORE_H
#define XY_CORE_CORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/service.h"
#include "core/budget.h"
#include "io/tls.h"
#include "kernel/kernel.h"
#include "proto/access.h"

#define XY_WORKERS_MAX 64 /* bits of xy_peer.waiting */

/* A receiver's buffer: publishers under `block` pause above, the other policies act; DIRECT may
 * fill half of it. Publishers go on below the lower mark. */
#define XY_BUFFER_PAUSE  (256u << 10)
#define XY_BUFFER_RESUME (128u << 10)

/* Events that are nobody's fault but must not go unseen; shown by status. */
#define XY_COUNTERS(X)                                                                            \
	X(ACCEPTED, "accepted") /* connections taken */                                           \
	X(ACCEPT_FAILED,                                                                          \
	  "accept_failed")        /* no descriptor or memory for a new one: once each time */     \
	X(REFUSED, "refused")     /* turned away: limit, HELLO, token */                          \
	X(LANES, "lanes")         /* connections that became a lane */                            \
	X(NO_SLOT, "no_slot")     /* could be lanes, but all slots were taken */                  \
	X(NOT_BOUND, "not_bound") /* had a slot, but their socket could not be had */             \
	X(ERRORS, "errors")       /* ERROR frames sent */                                         \
	X(SLOW_CONSUMERS, "slow_consumers") /* closed for making no progress */                   \
	X(NO_RECEIVER, "no_receiver")       /* DATA that nobody subscribes to */                  \
	X(OVERFLOW, "overflow_dropped") /* frames dropped by a policy; and messages, by which */  \
	X(OVERFLOW_NEWEST, "overflow_newest")                                                     \
	X(OVERFLOW_OLDEST, "overflow_oldest")                                                     \
	X(OVERFLOW_DISCONNECT, "overflow_disconnect")                                             \
	X(NO_MEMORY, "no_memory_dropped") /* frames that memory did not suffice for: told */      \
	X(BROKEN, "no_memory_closed")     /* connections, for want of what they must get */       \
	X(INPUT_WAITS, "no_memory_waits") /* reads put off for want of memory */                  \
	X(GONE, "receiver_gone")          /* frames for a receiver that closed */                 \
	X(FLOWS, "flows_installed")                                                               \
	X(FLOWS_REMOVED, "flows_removed")                                                         \
	X(FLOWS_EVICTED, "flows_evicted")                                                         \
	X(SYNC_WANTED, "sync_wanted")                                                             \
	X(BRAKED, "braked")                   /* publishers that had to wait */                   \
	X(SYNC_LOOKS, "sync_looks")           /* targets and receivers that SYNCs looked at */    \
	X(UNCOUNTED, "uncounted_frames")      /* K21: of epochs with more than the verdict saw */ \
	X(REDIRECT_FAILED, "redirect_failed") /* sends to a lane that will be retried */          \
	X(CREDIT_RIGHTED, "credit_righted")   /* lanes that got less than was counted */          \
	X(PRESSED, "memory_pressed")          /* times that memory became short */                \
	X(SHED, "closed_for_memory")          /* stalled while it was */                          \
	X(MEMORY_REFUSED,                                                                         \
	  "refused_for_memory")             /* turned away, or a request, when it was used up */  \
	X(UNAUTHORIZED, "unauthorized")     /* of those refused: not who he must be */            \
	X(TLS_HANDSHAKES, "tls_handshakes") /* that succeeded */                                  \
	X(TLS_FAILED, "tls_failed")         /* that did not */                                    \
	X(TLS_CUT, "tls_cut")               /* streams that ended without anybody saying so */    \
	X(FORBIDDEN, "forbidden")           /* requests and DATA that no rule allows */           \
	X(REVOKED_FLOWS, "revoked_flows")                                                         \
	X(REVOKED_SUBSCRIPTIONS, "revoked_subscriptions")                                         \
	X(REVOKED_CONNECTIONS, "revoked_connections")                                             \
	X(RELOADS, "reloads")                                                                     \
	X(RELOADS_FAILED, "reloads_failed") /* the rules before stay in force */                  \
	X(STUCK, "stuck_loops")             /* times that a loop did not come round in time */    \
	X(MOVED, "tasks_moved")             /* taken over from a stuck loop by another */

enum xy_counter {
#define X(name, text) XY_COUNT_##name,
	XY_COUNTERS(X)
#undef X
		XY_COUNTER_COUNT,
};

/* What can be read again while the proxy works. */
struct xy_rules {
	struct xy_access *access;
	struct xy_tls_context *tls; /* NULL: there is none */
};

struct xy_loop;
struct xy_worker;
struct xy_router;
struct xy_numbers;
struct xy_place;

/* What the watchdog knows of a loop: written by it, read by anybody. */
struct xy_pulse {
	_Atomic(bool) stuck;
	_Atomic(uint32_t) incidents;
	_Atomic(uint64_t) longest_ms; /* of them, one that lasts included */
};

/* What the process gave up before it served anybody. */
struct xy_confinement {
	bool on, filter, bpf; /* at all; system calls are filtered; it has kept CAP_BPF */
	uint32_t user, group;
	const char *why; /* … not, or "" */
};

struct xy_core {
	const char *instance;
	struct xy_kernel *kernel; /* NULL: everything in user space … */
	char kernel_why[256];     /* … and why */
	const char *listen[64];   /* addresses as bound, for status */
	unsigned listens;
	struct xy_router *router;
	struct xy_worker **worker;
	unsigned workers;
	struct xy_numbers *numbers;
	struct xy_place *place; /* of each connection, by its number */
	struct xy_depot *depot; /* segments on their way between the workers' pools */
	struct xy_loop *acceptor_loop;
	struct xy_pulse acceptor_pulse, router_pulse; /* a worker has its own */

	uint32_t max_connections;
	uint32_t max_topics;
	uint32_t max_subscriptions;
	uint64_t max_message;
	uint32_t heartbeat_ms;
	uint32_t stuck_after_ms; /* a loop that does not come round for so long is stuck */
	uint64_t started_ms;

	/* Who may do what: read under RCU, replaced by the router alone. The generation counts the
	 * sets, and is raised after its set is there: what was decided in an older one is decided
	 * again. */
	struct xy_access *access; /* NULL: everything is allowed */
	/* Of TLS listeners; the same way, before the access that belongs to it. */
	struct xy_tls_context *tls;
	_Atomic(uint64_t) access_generation;

	struct xy_budget budget;
	struct xy_service service; /* main's thread */
	struct xy_confinement confinement;
	_Atomic(bool) draining;
	_Atomic(bool) foreign_told; /* that another eBPF agent owns clients' sockets */
	_Atomic(uint64_t) counter[XY_COUNTER_COUNT];
};

static inline void xy_count(struct xy_core *core, enum xy_counter counter, uint64_t n)
{
	atomic_fetch_add_explicit(&core->counter[counter], n, memory_order_relaxed);
}

const char *xy_counter_text(enum xy_counter counter);

#endif
