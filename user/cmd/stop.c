/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static volatile sig_atomic_t stop_wanted;
static int stop_event = -1;

static void stop_handler(int number)
{
	static const uint64_t one = 1;
	int saved = errno;

	(void)number;
	stop_wanted = 1;
	/* An eventfd far below its limit takes every write. */
	if (write(stop_event, &one, sizeof(one)) < 0)
		stop_wanted = 1;
	errno = saved;
}

int xy_stop_install(void)
{
	/* No SA_RESTART: waits inside the library end with EINTR. */
	struct sigaction action = {.sa_handler = stop_handler, .sa_flags = (int)SA_RESETHAND};

	stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (stop_event < 0)
		return -errno;
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

bool xy_stop_wanted(void)
{
	return stop_wanted;
}

int xy_stop_fd(void)
{
	return stop_event;
}
