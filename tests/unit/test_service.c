/* SPDX-License-Identifier: BSD-2-Clause */
/* What the environment says of a service manager, and what it cannot mean. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/service.h"

static char name[64], own[16];

/* A manager on an abstract name. Returns its socket. */
static int manager(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	snprintf(name, sizeof(name), "@xylem-test-%d", getpid());
	memcpy(address.sun_path, name, strlen(name));
	address.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
			 0);
	return fd;
}

static int environment_clear(void **state)
{
	static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
					    "LISTEN_PID", "LISTEN_FDS"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
	snprintf(own, sizeof(own), "%d", getpid());
	return 0;
}

static void without_a_manager_nothing_is_said(void **state)
{
	static const char *const paths[] = {
		NULL, "", "relative", "vsock:2:1",
		"/"
		"0123456789012345678901234567890123456789012345678901234567890123456789"
		"0123456789012345678901234567890123456789"};
	struct xy_service service;

	(void)state;
	setenv("WATCHDOG_USEC", "1000000", 1);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (paths[i] != NULL)
			setenv("NOTIFY_SOCKET", paths[i], 1);
		xy_service_open(&service);
		assert_int_equal(service.fd, -1);
		assert_int_equal(service.watchdog_ms, 0);
		xy_service_tell(&service, "READY=1");
		xy_service_close(&service);
	}
}

static void a_manager_reads_what_is_told(void **state)
{
	struct xy_service service;
	char text[64] = "";
	int fd = manager();

	(void)state;
	setenv("NOTIFY_SOCKET", name, 1);
	xy_service_open(&service);
	xy_service_tell(&service, "READY=1\nSTATUS=well");
	assert_int_equal(recv(fd, text, sizeof(text) - 1, 0), strlen("READY=1\nSTATUS=well"));
	assert_string_equal(text, "READY=1\nSTATUS=well");
	close(fd);
	xy_service_tell(&service, "STOPPING=1"); /* nobody there any more: no harm */
	xy_service_close(&service);
}

static void the_watchdog_is_for_one_process(void **state)
{
	static const struct {
		const char *usec, *pid;
		uint64_t ms;
	} cases[] = {
		{"30000000", NULL, 30000},
		{"30000000", own, 30000},
		{"30000000", "1", 0},
		{"30000000", "", 0},
		{"30s", own, 0},
		{"", own, 0},
		{"-1", own, 0},
		{"99999999999999999999", own, 0},
	};
	struct xy_service service;
	int fd = manager();

	(void)state;
	setenv("NOTIFY_SOCKET", name, 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setenv("WATCHDOG_USEC", cases[i].usec, 1);
		unsetenv("WATCHDOG_PID");
		if (cases[i].pid != NULL)
			setenv("WATCHDOG_PID", cases[i].pid, 1);
		xy_service_open(&service);
		assert_int_equal(service.watchdog_ms, cases[i].ms);
		xy_service_close(&service);
	}
	close(fd);
}

static void sockets_are_for_one_process_and_not_for_its_children(void **state)
{
	int fd, copy;

	(void)state;
	assert_int_equal(xy_service_sockets(), 0);
	/* Whatever this program has there stays what it is. */
	copy = fcntl(XY_SERVICE_SOCKETS, F_DUPFD_CLOEXEC, 10);
	fd = open("/dev/null", O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(dup2(fd, XY_SERVICE_SOCKETS), XY_SERVICE_SOCKETS);
	setenv("LISTEN_FDS", "1", 1);
	assert_int_equal(xy_service_sockets(), 0);
	setenv("LISTEN_PID", "1", 1);
	assert_int_equal(xy_service_sockets(), 0);
	assert_int_equal(fcntl(XY_SERVICE_SOCKETS, F_GETFD) & FD_CLOEXEC, 0);
	setenv("LISTEN_PID", own, 1);
	assert_int_equal(xy_service_sockets(), 1);
	assert_int_equal(fcntl(XY_SERVICE_SOCKETS, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	setenv("LISTEN_FDS", "100000", 1); /* not open */
	assert_int_equal(xy_service_sockets(), 0);
	setenv("LISTEN_FDS", "4294967296", 1);
	assert_int_equal(xy_service_sockets(), 0);
	if (fd != XY_SERVICE_SOCKETS)
		close(fd);
	close(XY_SERVICE_SOCKETS);
	if (copy >= 0) {
		dup2(copy, XY_SERVICE_SOCKETS);
		close(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(without_a_manager_nothing_is_said, environment_clear),
		cmocka_unit_test_setup(a_manager_reads_what_is_told, environment_clear),
		cmocka_unit_test_setup(the_watchdog_is_for_one_process, environment_clear),
		cmocka_unit_test_setup(sockets_are_for_one_process_and_not_for_its_children,
				       environment_clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
