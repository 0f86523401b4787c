/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loaded before libc: when the test wants it, the thread loop-0 of a proxy tries what it should not
 * be able to (common/captive.h).
 */
#include "common/captive.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct captive *captive;

__attribute__((constructor)) static void captive_map(void)
{
	const char *path = getenv(CAPTIVE_VARIABLE);
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *memory;

	if (fd < 0)
		return;
	memory = mmap(NULL, sizeof(*captive), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory != MAP_FAILED)
		captive = memory;
}

/* ---- attempts -------------------------------------------------------------------------------- */

/* Every other field 0. */
static long bpf(int command)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	return syscall(SYS_bpf, command, &attr, sizeof(attr));
}

static long program_load(void)
{
	static const struct bpf_insn idle[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.license = (uintptr_t) "GPL";
	attr.insns = (uintptr_t)idle;
	attr.insn_cnt = sizeof(idle) / sizeof(idle[0]);
	return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static long map_create(void)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 1;
	return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

static long process_fork(void)
{
	long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long memory_map(int protection)
{
	return syscall(SYS_mmap, NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
}

static long memory_protect(void)
{
	return syscall(SYS_mprotect, memory_map(PROT_READ), 4096, PROT_READ | PROT_EXEC);
}

static void try_all(void)
{
#define X(name, expression) \
	errno = 0;          \
	captive->error[CAPTIVE_##name] = (expression) < 0 ? errno : 0;
	CAPTIVE_ATTEMPTS(X)
#undef X
}

/* ---- where it gets in ------------------------------------------------------------------------ */

static __thread bool is_loop;

/* How a thread names itself; it cannot be asked any more. */
int pthread_setname_np(pthread_t thread, const char *name)
{
	is_loop = strcmp(name, "loop-0") == 0;
	return ((int (*)(pthread_t, const char *))dlsym(RTLD_NEXT, "pthread_setname_np"))(thread,
											  name);
}

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
	static int (*next)(int, struct epoll_event *, int, int);

	if (next == NULL)
		next = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
	if (is_loop && captive != NULL && atomic_load(&captive->wanted) &&
	    !atomic_load(&captive->done)) {
		try_all();
		atomic_store(&captive->done, true);
	}
	return next(fd, events, count, timeout);
}
