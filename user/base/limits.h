/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What memory the machine and the container leave to a process. Any thread; reads files.
 *
 * `root` stands in front of every path that is read: "" for the machine, a tree of files in tests.
 */
#ifndef XY_BASE_LIMITS_H
#define XY_BASE_LIMITS_H

#include <stdint.h>

#define XY_LIMIT_NONE UINT64_MAX

/* Bytes of all TCP sockets at which the kernel begins to hold them back: tcp_mem[1]. Only the
 * initial network namespace shows it; elsewhere what the kernel takes by itself, 1/16 of RAM. */
uint64_t xy_limits_tcp(const char *root);

/* The smallest memory limit, in bytes, of this process's cgroup and of those above it, as far as
 * they are mounted; v1, v2, or both side by side. XY_LIMIT_NONE. */
uint64_t xy_limits_cgroup(const char *root);

#endif
