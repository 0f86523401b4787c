/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which new connections of the cgroup are clients of this instance: those to one of its plain-TCP
 * listeners. A wildcard listener has no address to compare, so there the remote address must be one
 * of this machine: loopback, or the same as the local one. A false positive costs that socket a
 * short program run per send and gives it nothing: only a claim makes it a lane (K24).
 */
#ifndef XY_BPF_POPULATION_H
#define XY_BPF_POPULATION_H

#include <bpf/bpf_endian.h>

#include "maps.bpf.h"

#define FAMILY_IPV4 2
#define FAMILY_IPV6 10

/* An address in network order; IPv4 as ::ffff:a.b.c.d, as a dual-stack socket sees it. */
struct address {
	__u32 word[4];
};

#define MAPPED_PREFIX bpf_htonl(0xffff)

static __always_inline int address_is_mapped(const struct address *address)
{
	return !address->word[0] && !address->word[1] && address->word[2] == MAPPED_PREFIX;
}

static __always_inline int address_is_equal(const struct address *a, const struct address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

static __always_inline int address_is_loopback(const struct address *address)
{
	if (address_is_mapped(address))
		return (address->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !address->word[0] && !address->word[1] && !address->word[2] &&
	       address->word[3] == bpf_htonl(1);
}

static __always_inline int listener_matches(const struct xy_listener *listener,
					    const struct address *remote, int is_own)
{
	struct address address = {
		{listener->addr[0], listener->addr[1], listener->addr[2], listener->addr[3]}};
	int wildcard = !(address.word[0] | address.word[1] | address.word[2] | address.word[3]);

	if (listener->family == FAMILY_IPV6)
		return wildcard ? is_own : address_is_equal(&address, remote);
	if (!address_is_mapped(remote))
		return 0;
	return wildcard ? is_own : address.word[0] == remote->word[3];
}

static __always_inline int connects_to_us(struct bpf_sock_ops *ops)
{
	const struct xy_control *settings = control_get();
	struct address remote = {}, local = {};
	__u32 port = bpf_ntohl(ops->remote_port);
	int is_own;

	if (!settings)
		return 0;
	if (ops->family == FAMILY_IPV6) {
		remote.word[0] = ops->remote_ip6[0];
		remote.word[1] = ops->remote_ip6[1];
		remote.word[2] = ops->remote_ip6[2];
		remote.word[3] = ops->remote_ip6[3];
		local.word[0] = ops->local_ip6[0];
		local.word[1] = ops->local_ip6[1];
		local.word[2] = ops->local_ip6[2];
		local.word[3] = ops->local_ip6[3];
	} else {
		remote.word[2] = local.word[2] = MAPPED_PREFIX;
		remote.word[3] = ops->remote_ip4;
		local.word[3] = ops->local_ip4;
	}
	is_own = address_is_loopback(&remote) || address_is_equal(&remote, &local);

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < XY_LISTENERS_MAX; i++) {
		if (i >= settings->listeners)
			break;
		if (settings->listener[i].port == port &&
		    listener_matches(&settings->listener[i], &remote, is_own))
			return 1;
	}
	return 0;
}

#endif
