/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loaded before libc: a kernel that lacks or breaks one thing that lanes rest on, by the word in
 * $XY_KERNEL_FAULT.
 *
 *   memlock       maps are charged to RLIMIT_MEMLOCK, as before 5.11
 *   arrays, ring  such maps cannot be mapped
 *   grace         no maps in maps
 *   attach        nothing can be attached to a cgroup
 *   order         proxy_verdict passes what it should redirect
 *   gone          sockets are not closed
 *   foreign       a second program on a socket is not refused
 *   namespaces    a second network namespace cannot be made
 *   place, crash  the process is killed when it moves to a place of its own, or as it receives
 *   hang          it receives for ever
 *   flip=N        of what is received in pieces of N bytes, the last is another
 *
 * $XY_KERNEL_UNAME is what uname tells, "RELEASE|VERSION".
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <xylem/maps.h>
#include <xylem/wire.h>

#define FAULT_VARIABLE "XY_KERNEL_FAULT"
#define UNAME_VARIABLE "XY_KERNEL_UNAME"

static bool fault_is(const char *word)
{
	const char *fault = getenv(FAULT_VARIABLE);

	return fault != NULL && strcmp(fault, word) == 0;
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

static long real_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	static long (*next)(long, ...);

	if (next == NULL)
		next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	return next(number, a, b, c, d, e, f);
}

/* ---- bpf(2) ---------------------------------------------------------------------------------- */

/* A program that does nothing, in place of another of its type. */
static long load_idle(union bpf_attr *attr, long size)
{
	static const struct bpf_insn idle[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr other;

	memset(&other, 0, sizeof(other));
	other.prog_type = attr->prog_type;
	other.license = attr->license;
	other.insns = (uintptr_t)idle;
	other.insn_cnt = sizeof(idle) / sizeof(idle[0]);
	return real_syscall(SYS_bpf, BPF_PROG_LOAD, (long)&other, size, 0, 0, 0);
}

/* The way of 5.10: all maps of a process together. Each attempt to load begins with `lane_of`, and
 * what the one before had is given back by then. */
static bool is_beyond_memlock(const union bpf_attr *attr)
{
	static unsigned long long charged;
	unsigned long long bytes =
		(unsigned long long)(attr->key_size + attr->value_size) * attr->max_entries;
	struct rlimit limit;

	if (strcmp(attr->map_name, "lane_of") == 0)
		charged = 0;
	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (charged + bytes > limit.rlim_cur)
		return true;
	charged += bytes;
	return false;
}

static long bpf(int command, union bpf_attr *attr, long size)
{
	static int foreign;

	if (command == BPF_MAP_CREATE) {
		if (fault_is("memlock") && is_beyond_memlock(attr))
			return refuse(EPERM);
		if (fault_is("grace") && attr->map_type == BPF_MAP_TYPE_ARRAY_OF_MAPS)
			return refuse(EPERM);
	}
	if (command == BPF_LINK_CREATE && fault_is("attach"))
		return refuse(EPERM);
	if (command == BPF_PROG_LOAD && fault_is("order") &&
	    strcmp(attr->prog_name, "proxy_verdict") == 0)
		return load_idle(attr, size);
	/* The third one: after the two of the programs under test. */
	if (command == BPF_PROG_ATTACH && fault_is("foreign") && ++foreign == 3)
		return 0;
	return real_syscall(SYS_bpf, command, (long)attr, size, 0, 0, 0);
}

long syscall(long number, ...)
{
	long argument[6];
	va_list arguments;

	va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		argument[i] = va_arg(arguments, long);
	va_end(arguments);
	if (number == SYS_bpf)
		return bpf((int)argument[0], (union bpf_attr *)argument[1], argument[2]);
	return real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4],
			    argument[5]);
}

/* ---- the rest -------------------------------------------------------------------------------- */

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	bool shared = fd >= 0 && flags & MAP_SHARED && protection & PROT_WRITE;

	if (shared && ((length == sizeof(struct xy_control) && fault_is("arrays")) ||
		       (length == (size_t)getpagesize() && fault_is("ring")))) {
		errno = ENODEV;
		return MAP_FAILED;
	}
	return (void *)real_syscall(SYS_mmap, (long)address, (long)length, protection, flags, fd,
				    offset);
}

/* What programs with large files call it. */
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
	__attribute__((alias("mmap")));

int unshare(int flags)
{
	static int networks;

	if (fault_is("place"))
		raise(SIGKILL);
	if (flags & CLONE_NEWNET && fault_is("namespaces") && ++networks == 2)
		return refuse(ENOSPC);
	return (int)real_syscall(SYS_unshare, flags, 0, 0, 0, 0, 0);
}

int close(int fd)
{
	struct stat status;

	if (fault_is("gone") && fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode))
		return 0;
	return (int)real_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
	ssize_t got = real_syscall(SYS_recvfrom, fd, (long)buffer, (long)size, flags, 0, 0);
	const char *fault = getenv(FAULT_VARIABLE);

	if (size == XY_FRAME_MAX && fault_is("crash"))
		abort();
	while (size == XY_FRAME_MAX && fault_is("hang"))
		pause();
	if (fault != NULL && strncmp(fault, "flip=", 5) == 0 && got > 0 &&
	    size == strtoul(fault + 5, NULL, 10))
		((unsigned char *)buffer)[got - 1] ^= 1;
	return got;
}

int uname(struct utsname *name)
{
	const char *other = getenv(UNAME_VARIABLE);
	int result = (int)real_syscall(SYS_uname, (long)name, 0, 0, 0, 0, 0);

	if (result == 0 && other != NULL)
		sscanf(other, "%64[^|]|%64[^\n]", name->release, name->version);
	return result;
}
