/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counters of a proxy's lanes, read from its pinned map: what the kernel really did. What has
 * been opened stays readable after the proxy's end, as the kernel keeps the map for the programs.
 *
 * One thread opens and closes, any thread reads.
 */
#ifndef TEST_SESSIONS_H
#define TEST_SESSIONS_H

#include <stdint.h>

#include "common/proxy.h"
#include "kernel/session.h"

struct sessions;

/* NULL without the kernel path; fails the running test when the map is not there. */
struct sessions *sessions_open(const struct proxy *proxy);
void sessions_close(struct sessions *sessions); /* NULL is fine */
/* Fails the running test when no live lane has this endpoint. NULL without the kernel path. */
const struct xy_session *sessions_of(const struct sessions *sessions, uint64_t endpoint);
/* How many slots are in use. */
unsigned sessions_used(const struct sessions *sessions);

/* Flows that are installed; 0 without the kernel path. */
unsigned flows_used(const struct proxy *proxy);

/* DATA frames passed to the proxy, whatever for. Any thread. */
static inline uint64_t session_passed(const struct xy_session *session)
{
	return __atomic_load_n(&session->passed, __ATOMIC_RELAXED);
}

#endif
