/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps of an instance. Sizes given here are set again by the loader; <xylem/maps.h> has the
 * records and says who writes what.
 *
 * A socket may carry one sk_msg program only (K10), so redirect goes by `lanes`, which has none,
 * and both programs reach every lane through it.
 */
#ifndef XY_BPF_MAPS_H
#define XY_BPF_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include <xylem/maps.h>

#define READ_ONCE(x)         (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))

/* Plain XADD: Linux 5.10 has no fetching atomics (K6), so the result is never used. */
#define atomic_add(counter, n) ((void)__sync_fetch_and_add((counter), (n)))

/* Clients' own sockets by cookie, put in by sock_ops; client_verdict runs on what they send. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} client_sockets SEC(".maps");

/* The same sockets as targets of redirect. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} lanes SEC(".maps");

/* The proxy's ends by cookie, put in by user space; proxy_verdict runs on what it sends. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} proxy_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct xy_lane);
} lane_of SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct xy_claim);
} claims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xy_session);
} sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct xy_flow_key);
	__type(value, struct xy_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xy_control);
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} pressure SEC(".maps");

static __always_inline struct xy_control *control_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&control, &first);
}

static __always_inline struct xy_session *session_get(__u32 slot)
{
	return bpf_map_lookup_elem(&sessions, &slot);
}

#endif
