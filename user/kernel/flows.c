/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "kernel/internal.h"

int xy_kernel_flow_put(struct xy_kernel *kernel, const struct xy_flow *flow)
{
	__u64 word[XY_FLOW_WORDS];
	int error;

	if (!flow->members || flow->members > XY_GROUP_MAX)
		return -EINVAL;
	memcpy(word, flow, sizeof(word));
	word[XY_FLOW_WORDS - 1] = xy_flow_check(word);
	error = bpf_map_update_elem(kernel->flows_fd, &flow->key, word, BPF_ANY);
	return error == -E2BIG ? -ENOSPC : error;
}

int xy_kernel_flow_delete(struct xy_kernel *kernel, const struct xy_flow_key *key)
{
	return bpf_map_delete_elem(kernel->flows_fd, key);
}
