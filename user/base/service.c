/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/service.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool number_of(const char *name, uint64_t *ret_number)
{
	const char *text = getenv(name);
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return !errno && !*end;
}

/* Variables are inherited by who is not meant: a PID says who is. `absent`: what its absence says.
 */
static bool is_for_us(const char *name, bool absent)
{
	uint64_t pid;

	return getenv(name) ? number_of(name, &pid) && pid == (uint64_t)getpid() : absent;
}

void xy_service_open(struct xy_service *service)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;
	uint64_t watchdog_us;

	*service = (struct xy_service){.fd = -1, .manager = {.sun_family = AF_UNIX}};
	if (!length || length >= sizeof(service->manager.sun_path) || !strchr("/@", *path))
		return;
	memcpy(service->manager.sun_path, path, length);
	service->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	if (*path == '@')
		service->manager.sun_path[0] = '\0';
	service->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (service->fd >= 0 && number_of("WATCHDOG_USEC", &watchdog_us) &&
	    is_for_us("WATCHDOG_PID", true))
		service->watchdog_ms = watchdog_us / 1000;
}

void xy_service_close(struct xy_service *service)
{
	if (service->fd >= 0)
		close(service->fd);
	service->fd = -1;
}

void xy_service_tell(const struct xy_service *service, const char *state)
{
	if (service->fd >= 0)
		sendto(service->fd, state, strlen(state), MSG_DONTWAIT | MSG_NOSIGNAL,
		       (const struct sockaddr *)&service->manager, service->length);
}

unsigned xy_service_sockets(void)
{
	uint64_t count;

	if (!is_for_us("LISTEN_PID", false) || !number_of("LISTEN_FDS", &count) ||
	    count > INT_MAX - XY_SERVICE_SOCKETS)
		return 0;
	for (uint64_t n = 0; n < count; n++)
		if (fcntl(XY_SERVICE_SOCKETS + (int)n, F_SETFD, FD_CLOEXEC))
			return 0;
	return (unsigned)count;
}
