/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A loop that somebody else has taken over: $BUILD/tests/captive.so (tests/preload) is loaded into
 * a proxy, and its thread loop-0 tries, when the test says so, what a proxy has no business with.
 */
#ifndef TEST_CAPTIVE_H
#define TEST_CAPTIVE_H

#include <stdatomic.h>
#include <stdbool.h>

#define CAPTIVE_VARIABLE "XY_CAPTIVE" /* names the file of the shared memory */

/* Name, and the expression that tries it: -1 with errno when refused. Where nothing refuses it, it
 * fails otherwise or does no harm. */
#define CAPTIVE_ATTEMPTS(X)                                                                  \
	X(LOAD, program_load())                                                              \
	X(MAP_CREATE, map_create())                                                          \
	X(MAP_LOOKUP, bpf(BPF_MAP_LOOKUP_ELEM))                                              \
	X(ATTACH, bpf(BPF_PROG_ATTACH))                                                      \
	X(DETACH, bpf(BPF_PROG_DETACH))                                                      \
	X(LINK_CREATE, bpf(BPF_LINK_CREATE))                                                 \
	X(PROGRAM_OF_OTHERS, bpf(BPF_PROG_GET_FD_BY_ID))                                     \
	X(MAP_OF_OTHERS, bpf(BPF_MAP_GET_FD_BY_ID))                                          \
	X(PIN, bpf(BPF_OBJ_PIN))                                                             \
	X(EXECUTE, syscall(SYS_execve, "/nowhere", NULL, NULL))                              \
	X(EXECUTE_AT, syscall(SYS_execveat, -1, "nowhere", NULL, NULL, 0))                   \
	X(FORK, process_fork())                                                              \
	X(OPEN, syscall(SYS_openat, AT_FDCWD, "/etc/shadow", O_RDONLY))                      \
	X(OPEN_TO_WRITE, syscall(SYS_openat, AT_FDCWD, "/nowhere/x", O_WRONLY | O_CREAT, 0)) \
	X(OPEN_2, syscall(SYS_openat2, AT_FDCWD, "/etc/shadow", NULL, 0))                    \
	X(UNLINK, syscall(SYS_unlinkat, AT_FDCWD, "/nowhere/x", 0))                          \
	X(RENAME, syscall(SYS_renameat2, -1, "x", -1, "y", 0))                               \
	X(CHMOD, syscall(SYS_fchmodat, AT_FDCWD, "/nowhere", 0))                             \
	X(MOUNT, syscall(SYS_mount, "none", "/nowhere", "tmpfs", 0, NULL))                   \
	X(NAMESPACE, syscall(SYS_unshare, 0))                                                \
	X(OTHER_NAMESPACE, syscall(SYS_setns, -1, 0))                                        \
	X(TRACE, syscall(SYS_ptrace, PTRACE_DETACH, 0, NULL, NULL))                          \
	X(MEMORY_OF_OTHERS, syscall(SYS_process_vm_readv, -1, NULL, 0, NULL, 0, 0))          \
	X(SIGNAL, syscall(SYS_kill, getppid(), 0))                                           \
	X(SIGNAL_THREAD, syscall(SYS_tgkill, getppid(), getppid(), 0))                       \
	X(TCP_SOCKET, syscall(SYS_socket, AF_INET, SOCK_STREAM, 0))                          \
	X(NETLINK, syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0))                             \
	X(CONNECT, syscall(SYS_connect, -1, NULL, 0))                                        \
	X(SOCKET_OPTION, syscall(SYS_setsockopt, -1, SOL_IP, 64, NULL, 0))                   \
	X(CONTROL, syscall(SYS_ioctl, -1, TIOCSTI, NULL))                                    \
	X(NEW_CODE, memory_map(PROT_READ | PROT_EXEC))                                       \
	X(CHANGED_CODE, memory_protect())                                                    \
	X(IO_URING, syscall(SYS_io_uring_setup, 0, NULL))                                    \
	X(USER, syscall(SYS_setuid, getuid()))                                               \
	X(DUMPABLE, syscall(SYS_prctl, PR_SET_DUMPABLE, 2))

enum captive_attempt {
#define X(name, expression) CAPTIVE_##name,
	CAPTIVE_ATTEMPTS(X)
#undef X
		CAPTIVE_COUNT,
};

struct captive {
	_Atomic(bool) wanted, done;
	int error[CAPTIVE_COUNT]; /* 0 = it did it */
};

#endif
