/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The proxy as one object: acceptor, workers, router and the kernel side, made and ended together.
 *
 * One thread, main's, calls all of this; SIGTERM and SIGINT of the process are its own from
 * xy_server_new() on, and stay blocked.
 * What goes wrong before the proxy runs is logged here and told as an exit status for the shell.
 */
#ifndef XY_CORE_SERVER_H
#define XY_CORE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/reload.h"

#define XY_BUDGET_MIN (4ull << 20)

/* Instead of an address: the sockets that systemd has opened for this service. */
#define XY_LISTEN_GIVEN "systemd"

enum xy_kernel_path {
	XY_KERNEL_PATH_AUTO = 0, /* lanes where the kernel allows them, else none, and say why */
	XY_KERNEL_PATH_ON,       /* refuse to start without */
	XY_KERNEL_PATH_OFF,      /* never touch BPF */
};

struct xy_server_options {
	size_t size;               /* sizeof(struct xy_server_options) */
	const char *const *listen; /* HOST:PORT, [V6]:PORT, these behind "tls:", unix:PATH or
				      XY_LISTEN_GIVEN */
	unsigned listens;
	unsigned unix_mode; /* of the paths of UNIX listeners; 0 = what the umask leaves */
	const char *cgroup; /* v2 directory, pid:N, pod:UID, container:ID; NULL = own pod, or all */
	enum xy_kernel_path kernel_path;
	const char *instance; /* NULL = port of the first listener and the network namespace */
	/* Who may do what (NULL = everything), and how TLS listeners prove who they are: taken
	 * over, also by a server that cannot be made. */
	struct xy_rules rules;
	/* How it is read again, on main's thread, when SIGHUP or xy_reload_ask() want it; NULL = it
	 * is not, and SIGHUP does what it does to any program. */
	xy_reload_fn reread;
	void *reread_context;
	unsigned loops;           /* 0 = one per core that it may use */
	unsigned max_connections; /* 0 = what the descriptor limit allows, at most 16,384 */
	unsigned lanes;           /* slots of the kernel side; 0 = 4,096 */
	unsigned flows;           /* 0 = 16,384 */
	unsigned stuck_after_ms; /* 0 = 100: a loop that does not come round for so long is stuck */
	uint64_t memory_budget;  /* bytes, at least XY_BUDGET_MIN; 0 = what the machine suggests */
	const char *admin_path;  /* NULL = in the runtime directory; for the admin socket's owner */
	/* For who confines the process, between new and start. */
	bool unconfined;
	bool other_user; /* user and group are given */
	uint32_t user, group;
};

enum xy_exit {
	XY_EXIT_OK = 0,
	XY_EXIT_FAILURE = 1, /* at run time */
	XY_EXIT_USAGE =
		2, /* options that cannot work: addresses, directories, files, names in use */
	XY_EXIT_KERNEL = 5, /* --kernel-path on, and no lanes */
};

struct xy_core;
struct xy_server;

/* Opens everything that can fail; nothing runs yet, there is one thread. */
enum xy_exit xy_server_new(const struct xy_server_options *options, struct xy_server **ret_server);
void xy_server_free(struct xy_server *server); /* NULL is fine */
struct xy_core *xy_server_core(struct xy_server *server);
struct xy_reload *xy_server_reload(struct xy_server *server); /* NULL = rules are not read again */
enum xy_exit xy_server_start(struct xy_server *server);       /* all threads */
/* Until SIGTERM or SIGINT; then drains: GOODBYE to all clients, at most 5 s, less with a second
 * signal. */
enum xy_exit xy_server_wait(struct xy_server *server);
void xy_server_stop(struct xy_server *server); /* joins all threads */
/* Any thread, when they cannot be joined: takes back all that is outside of the process, which must
 * end then. */
void xy_server_withdraw(struct xy_server *server);
/* Removes what it has left in the file system, and no more; also in a child without descriptors. */
void xy_server_unlink(const struct xy_server *server);

#endif
