/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a service manager and its service say to each other: systemd's sd_notify(3), watchdog and
 * sd_listen_fds(3). The protocol is a datagram of text and three environment variables, and stable;
 * to speak it here keeps libsystemd, and what that loads, out of a process with capabilities.
 *
 * Without a manager that asks for it everything here does nothing. One thread.
 */
#ifndef XY_BASE_SERVICE_H
#define XY_BASE_SERVICE_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct xy_service {
	int fd; /* -1 = nobody listens */
	struct sockaddr_un manager;
	socklen_t length;
	uint64_t watchdog_ms; /* must be told "WATCHDOG=1" within this; 0 = not asked for */
};

/* From the environment. What it says and cannot be is as if it said nothing. */
void xy_service_open(struct xy_service *service);
void xy_service_close(struct xy_service *service);
/* "READY=1", "STOPPING=1" …, several with newlines between; never blocks. */
void xy_service_tell(const struct xy_service *service, const char *state);

/* How many open sockets this process was started with: XY_SERVICE_SOCKETS and those after it. They
 * become close-on-exec. */
#define XY_SERVICE_SOCKETS 3
unsigned xy_service_sockets(void);

#endif
