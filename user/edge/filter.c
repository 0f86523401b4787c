/* SPDX-License-Identifier: BSD-2-Clause */
#include "edge/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"

/* Whatever the arguments are. None takes a path, but for the name that sendto(2) and sendmsg(2) may
 * carry, and no name can be given to a stream that is connected. */
static const int allowed[] = {
	/* connections, and the pipe to the sweeper */
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(accept4),
	SCMP_SYS(shutdown),
	SCMP_SYS(close),
	SCMP_SYS(getsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	/* loops */
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(signalfd4),
	/* threads, time, memory */
	SCMP_SYS(futex),
	SCMP_SYS(membarrier),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(getrandom),
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	/* itself, and its end */
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(wait4),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

#define IS(number, value)                                                        \
	{                                                                        \
		.arg = (number), .op = SCMP_CMP_EQ, .datum_a = (uint64_t)(value) \
	}
#define HAS(number, bits, values)                                                                 \
	{                                                                                         \
		.arg = (number), .op = SCMP_CMP_MASKED_EQ, .datum_a = (bits), .datum_b = (values) \
	}

/* These only with these arguments; several lines for one call: any of them. */
static const struct {
	int call;
	unsigned count;
	struct scmp_arg_cmp argument[2];
} allowed_with[] = {
	/* What programs and sockets there are was settled before. */
	{SCMP_SYS(bpf), 1, {IS(0, BPF_MAP_UPDATE_ELEM)}},
	{SCMP_SYS(bpf), 1, {IS(0, BPF_MAP_DELETE_ELEM)}},
	/* No code but that which is there. */
	{SCMP_SYS(mmap), 1, {HAS(2, PROT_EXEC, 0)}},
	{SCMP_SYS(mprotect), 1, {HAS(2, PROT_EXEC, 0)}},
	/* Threads, but no processes. */
	{SCMP_SYS(clone), 1, {HAS(0, CLONE_THREAD, CLONE_THREAD)}},
	{SCMP_SYS(prctl), 1, {IS(0, PR_SET_NAME)}},
	{SCMP_SYS(setsockopt), 2, {IS(1, SOL_SOCKET), IS(2, SO_LINGER)}},
	{SCMP_SYS(setsockopt), 2, {IS(1, SOL_SOCKET), IS(2, SO_RCVBUF)}},
	{SCMP_SYS(setsockopt), 2, {IS(1, SOL_SOCKET), IS(2, SO_SNDBUF)}},
	{SCMP_SYS(setsockopt), 2, {IS(1, IPPROTO_TCP), IS(2, TCP_NODELAY)}},
	{SCMP_SYS(ioctl), 1, {IS(1, SIOCOUTQ)}},
};

/* What reading files again takes. */
static int rereading_add(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp reading = HAS(2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY);
	const struct scmp_arg_cmp descriptor = IS(3, AT_EMPTY_PATH);
	int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, reading);

	if (!error)
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
					 descriptor);
	if (!error)
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fstat), 0);
	if (!error)
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(geteuid), 0);
	return error;
}

static int rules_add(scmp_filter_ctx filter)
{
	/* For abort(). */
	const struct scmp_arg_cmp own = IS(0, getpid());
	int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, own);

	/* Its arguments are in memory, where no filter can see them: libc takes clone(2) then. */
	if (!error)
		error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	for (size_t i = 0; !error && i < XY_ARRAY_SIZE(allowed); i++)
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; !error && i < XY_ARRAY_SIZE(allowed_with); i++)
		error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, allowed_with[i].call,
					       allowed_with[i].count, allowed_with[i].argument);
	return error;
}

int xy_filter_load(bool rereads)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int error;

	if (!filter)
		return -ENOMEM;
	error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	/* Else each call of a busy loop would be compared with dozens of others. */
	if (!error)
		error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!error)
		error = rules_add(filter);
	if (!error && rereads)
		error = rereading_add(filter);
	if (!error)
		error = seccomp_load(filter);
	seccomp_release(filter);
	return error;
}
