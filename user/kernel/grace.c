/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A grace period of the kernel's RCU, under which programs run: when it is over, so is every run
 * that could have seen a flow or a generation from before it.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "kernel/internal.h"

static int membarrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

int xy_grace_open(struct xy_grace *grace, bool may_membarrier)
{
	int commands = membarrier(MEMBARRIER_CMD_QUERY), inner, outer;
	uint32_t first = 0;

	/* Refused by nohz_full kernels and by some seccomp filters. */
	if (may_membarrier && commands >= 0 && commands & MEMBARRIER_CMD_GLOBAL) {
		*grace = (struct xy_grace){.membarrier = true, .outer = -1, .inner = -1};
		return 0;
	}
	/* The kernel waits for a grace period whenever a map in a map is replaced. */
	inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "grace_inner", sizeof(first), sizeof(first), 1,
			       NULL);
	if (inner < 0)
		return inner;
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = (uint32_t)inner);
	outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "grace_outer", sizeof(first),
			       sizeof(first), 1, &options);
	if (outer < 0) {
		close(inner);
		return outer;
	}
	*grace = (struct xy_grace){.outer = outer, .inner = inner};
	return 0;
}

void xy_grace_close(struct xy_grace *grace)
{
	if (grace->membarrier)
		return;
	close(grace->outer);
	close(grace->inner);
}

void xy_grace_wait(const struct xy_grace *grace)
{
	uint32_t first = 0;

	if (grace->membarrier)
		membarrier(MEMBARRIER_CMD_GLOBAL);
	else
		bpf_map_update_elem(grace->outer, &first, &grace->inner, BPF_ANY);
}
