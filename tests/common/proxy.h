/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The real proxy binary as a fixture: started with its own cgroup, instance name and port, in the
 * test's own network namespace, and stopped with a look at its exit status and its sanitizers.
 *
 * The binary is $XYLEM, or `xylem` of the build directory that the test was built in. All functions
 * fail the running cmocka test when they cannot do what they say. One thread.
 */
#ifndef TEST_PROXY_H
#define TEST_PROXY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define TEST_TIMEOUT_MS 60000 /* of a wait for what must come; only a failing test sees it pass */

enum kernel_path {
	KERNEL_PATH_OFF = 0,
	KERNEL_PATH_ON = 1,
};

struct proxy;

/* Puts this process into a network namespace and a cgroup of its own (once; its children inherit
 * both) and starts `xylem serve` with a TCP and a UNIX listener; returns when both answer.
 * `arguments`: more options for serve, NULL-terminated; NULL = none. Returns NULL, after saying
 * why, only if the kernel path is on and the proxy says that this machine has none. */
struct proxy *proxy_start(enum kernel_path kernel_path, const char *const *arguments);
/* SIGTERM, unless it has been sent before, then waits. Fails when the proxy does not end by itself
 * with status 0, or when it left a sanitizer's report. NULL is fine. */
void proxy_stop(struct proxy *proxy);
/* Sends SIGTERM or SIGKILL and waits; after SIGTERM it fails like proxy_stop(). The fixture stays.
 */
void proxy_end(struct proxy *proxy, int signal);
void proxy_await_end(struct proxy *proxy);   /* as proxy_end, after the signal */
int proxy_await_status(struct proxy *proxy); /* the same, but whatever its wait status is */
/* After its end: the same instance once more, on the same addresses. */
void proxy_restart(struct proxy *proxy);
/* SIGKILL; no questions asked. */
void proxy_kill(struct proxy *proxy);
void proxy_signal(struct proxy *proxy, int signal);
/* None of its threads runs from the return of one to the call of the other. */
void proxy_pause(struct proxy *proxy);
void proxy_resume(struct proxy *proxy);

enum kernel_path proxy_kernel_path(const struct proxy *proxy);
const char *proxy_server(const struct proxy *proxy);   /* "127.0.0.1:PORT" */
const char *proxy_unix(const struct proxy *proxy);     /* "unix:PATH" */
const char *proxy_instance(const struct proxy *proxy); /* its name */
const char *proxy_binary(void);                        /* path of `xylem` */
uint16_t proxy_port(const struct proxy *proxy);
uint16_t proxy_secure_port(const struct proxy *proxy); /* of secure_wanted() */
pid_t proxy_pid(const struct proxy *proxy);
bool proxy_alive(const struct proxy *proxy);
/* Open descriptors of the proxy. */
unsigned proxy_descriptors(const struct proxy *proxy);
/* Waits until it has let go of every connection: open descriptors are as few as they ever were. */
void proxy_wait_idle(struct proxy *proxy);
/* Fails, with the log of the proxy, if it has died or left a sanitizer's report. */
void proxy_check(const struct proxy *proxy);
void proxy_print_log(const struct proxy *proxy);
/* How often the text is in the proxy's log. */
unsigned proxy_logged(const struct proxy *proxy, const char *text);
void proxy_await_logged(const struct proxy *proxy, const char *text); /* once at least */

/* Runs the tests twice, with the kernel path off and on, each time against one proxy that all of
 * them share: *state is the struct proxy. $XYLEM_KERNEL_PATH = "on" or "off" runs that half only.
 * Returns the number of failures. */
#define proxy_run_both(tests, arguments) \
	proxy_run_group_both(#tests, tests, sizeof(tests) / sizeof((tests)[0]), arguments)
int proxy_run_group_both(const char *name, const struct CMUnitTest *tests, size_t count,
			 const char *const *arguments);
/* A test of such a group: afterwards its raw clients are closed, and the proxy is checked and has
 * let go of them. */
#define proxy_test(function) cmocka_unit_test_teardown(function, proxy_test_teardown)
int proxy_test_teardown(void **state);

/* Monotonic clock in ms. */
uint64_t test_now_ms(void);
/* How many of a large number of things to do: $XY_TEST_SCALE is what it is divided by. */
uint64_t test_scaled(uint64_t count);

#endif
