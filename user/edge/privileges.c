/* SPDX-License-Identifier: BSD-2-Clause */
#include "edge/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CAP_BPF
#define CAP_BPF 39
#endif
#define MASK(capability) (UINT64_C(1) << (capability))

int xy_privileges_user(uid_t user, gid_t group)
{
	int death = 0;

	/* Who wanted to know it dead with its parent still does; the kernel forgets that. */
	if (prctl(PR_GET_PDEATHSIG, &death, 0, 0, 0) || setgroups(0, NULL) ||
	    setresgid(group, group, group) || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) ||
	    setresuid(user, user, user) || prctl(PR_SET_PDEATHSIG, death, 0, 0, 0))
		return -errno;
	return 0;
}

static uint64_t permitted(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capget, &header, data))
		return 0;
	return (uint64_t)data[1].permitted << 32 | data[0].permitted;
}

static int capabilities_set(uint64_t permitted, uint64_t effective)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{.permitted = (uint32_t)permitted, .effective = (uint32_t)effective},
		{.permitted = (uint32_t)(permitted >> 32),
		 .effective = (uint32_t)(effective >> 32)},
	};

	/* What is ambient goes with what is inheritable. */
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

static int nothing(void *context)
{
	(void)context;
	return 0;
}

int xy_privileges_drop_but(int (*suffices)(void *context), void *context, bool *ret_bpf)
{
	uint64_t kept = permitted() & MASK(CAP_BPF);
	int error = capabilities_set(kept, 0);

	if (!error && suffices(context) == 0)
		kept = 0;
	if (!error)
		error = capabilities_set(kept, kept);
	if (!error)
		error = suffices(context);
	if (!error &&
	    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)))
		error = -errno;
	if (!error)
		*ret_bpf = kept != 0;
	return error;
}

int xy_privileges_drop(void)
{
	bool bpf;

	return xy_privileges_drop_but(nothing, NULL, &bpf);
}
