/* SPDX-License-Identifier: BSD-2-Clause */
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "kernel/internal.h"

#ifndef CAP_BPF
#define CAP_PERFMON 38
#define CAP_BPF     39
#endif

static bool has(const struct __user_cap_data_struct *data, unsigned capability)
{
	return data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability);
}

const char *xy_rights_missing(char *buffer, size_t size)
{
	static const struct {
		unsigned number;
		const char *name;
	} needed[] = {
		{CAP_BPF, "CAP_BPF"},
		{CAP_NET_ADMIN, "CAP_NET_ADMIN"},
		{CAP_PERFMON, "CAP_PERFMON"},
	};
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
	size_t length = 0;

	buffer[0] = '\0';
	if (syscall(SYS_capget, &header, data))
		return buffer;
	for (size_t i = 0; i < XY_ARRAY_SIZE(needed); i++) {
		/* For bpf(2), CAP_SYS_ADMIN is each of them. */
		if (has(data, needed[i].number) || has(data, CAP_SYS_ADMIN))
			continue;
		length += (size_t)snprintf(buffer + length, size - length, "%s%s",
					   length ? ", " : "", needed[i].name);
		if (length >= size)
			break;
	}
	return buffer;
}
