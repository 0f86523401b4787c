/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls that a proxy makes once it has started, and no others.
 *
 * After it no thread can write to a file or remove one, nor, unless rules are read again, open any;
 * make a socket, a process, executable memory or anything of BPF: only write elements of the maps,
 * use the descriptors that are open, accept, and end. What is not allowed fails with EPERM, and
 * changes nothing: a library that one day asks for something new must not cost all clients their
 * streams, and an attacker gets no further than he would when killed.
 */
#ifndef XY_EDGE_FILTER_H
#define XY_EDGE_FILTER_H

#include <stdbool.h>

/* Sanitizers read /proc, make threads of their own, map what they like: their builds have none. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define XY_FILTER_BUILT false
#else
#define XY_FILTER_BUILT true
#endif

/* For all threads of the process, for good; no_new_privs, too. `rereads`: it will read files again,
 * so files can be opened, but to read them only. 0 or -errno. */
int xy_filter_load(bool rereads);

#endif
