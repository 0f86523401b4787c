/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include <bpf/bpf.h>

#include "kernel/internal.h"

int xy_kernel_flow_put(struct xy_kernel *kernel, const struct xy_flow *flow)
{
	int error;

	if (!flow->members || flow->members > XY_GROUP_MAX)
		return -EINVAL;
	error = bpf_map_update_elem(kernel->flows_fd, &flow->key, flow, BPF_ANY);
	return error == -E2BIG ? -ENOSPC : error;
}

int xy_kernel_flow_delete(struct xy_kernel *kernel, const struct xy_flow_key *key)
{
	return bpf_map_delete_elem(kernel->flows_fd, key);
}
