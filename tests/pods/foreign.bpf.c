/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another eBPF agent, as a service mesh brings one: it puts every connection that its cgroup makes
 * into a sockmap of its own, which carries a verdict of its own (that passes).
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} theirs SEC(".maps");

SEC("sockops")
int foreign_established(struct bpf_sock_ops *ops)
{
	__u64 cookie;

	if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
		cookie = bpf_get_socket_cookie(ops);
		bpf_sock_hash_update(ops, &theirs, &cookie, BPF_ANY);
	}
	return 1;
}

SEC("sk_msg")
int foreign_verdict(struct sk_msg_md *msg)
{
	(void)msg;
	return SK_PASS;
}

char _license[] SEC("license") = "BSD";
