/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A network namespace and a cgroup of the test's own, so that tests run side by side on any
 * machine.
 */
#ifndef TEST_SANDBOX_H
#define TEST_SANDBOX_H

#include <stdbool.h>

/* Enters both; later calls do nothing. Ends with the process. NULL, or what is missing, in words;
 * then the process stays where it is. */
const char *sandbox_enter(void);
/* The cgroup v2 directory that this process is in now; NULL without one. */
const char *sandbox_cgroup(void);
/* Writes one of the files of a cgroup's directory; false: the kernel does not take it. */
bool sandbox_cgroup_put(const char *where, const char *name, const char *text);
/* What sockets hold that are made between these two is charged to a memory cgroup, which leaves TCP
 * so many bytes. False: there is no such thing here (it takes cgroup v1's memory controller). */
bool sandbox_tight_enter(const char *bytes);
bool sandbox_tight_leave(void);

#endif
