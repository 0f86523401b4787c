/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/proxy.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/raw.h"
#include "common/sandbox.h"
#include "common/secure.h"

#define EXIT_NO_KERNEL_PATH 5 /* of `xylem serve --kernel-path on` */
#define ARGUMENTS_MAX       32
#define LOG_SHOWN           16384

struct proxy {
	enum kernel_path kernel_path;
	pid_t pid;
	bool ending;   /* has been sent SIGTERM; a second one would cut its end short */
	int log;       /* memfd with its standard error */
	unsigned idle; /* descriptors when it has no connections: the fewest ever seen */
	const char *const *arguments;
	uint16_t port;
	uint16_t secure_port; /* with $XY_TEST_TLS */
	char instance[32], secure[32], server[32], unix_address[80], unix_path[64];
};

uint64_t test_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t test_scaled(uint64_t count)
{
	const char *given = getenv("XY_TEST_SCALE");
	uint64_t scale = given != NULL ? strtoull(given, NULL, 10) : 1;

	return scale > 1 && count > scale ? count / scale : count;
}

/* Between two looks at something that cannot be polled. */
static void pause_briefly(void)
{
	poll(NULL, 0, 2);
}

const char *proxy_binary(void)
{
	static char path[PATH_MAX + 32];
	const char *given = getenv("XYLEM");
	char self[PATH_MAX];
	ssize_t length;

	if (given != NULL)
		return given;
	length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	assert_true(length > 0);
	self[length] = '\0';
	/* The test is <build>/tests/<level>/test_x. */
	snprintf(path, sizeof(path), "%s/xylem", dirname(dirname(dirname(self))));
	return path;
}

static uint16_t free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	close(fd);
	return ntohs(address.sin_port);
}

/* ---- its log --------------------------------------------------------------------------------- */

static char *log_read(const struct proxy *proxy)
{
	off_t size = lseek(proxy->log, 0, SEEK_END);
	char *text;
	ssize_t got;

	assert_true(size >= 0);
	text = malloc((size_t)size + 1);
	assert_non_null(text);
	got = pread(proxy->log, text, (size_t)size, 0);
	assert_true(got >= 0);
	text[got] = '\0';
	return text;
}

void proxy_print_log(const struct proxy *proxy)
{
	char *text = log_read(proxy);
	size_t length = strlen(text);

	/* cmocka's print_message() would cut it at 1 KiB. */
	fprintf(stderr, "---- standard error of the proxy ----\n%s----\n",
		length > LOG_SHOWN ? text + length - LOG_SHOWN : text);
	free(text);
}

unsigned proxy_logged(const struct proxy *proxy, const char *text)
{
	char *log = log_read(proxy);
	unsigned count = 0;

	for (const char *at = log; (at = strstr(at, text)) != NULL; at += strlen(text))
		count++;
	free(log);
	return count;
}

void proxy_await_logged(const struct proxy *proxy, const char *text)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	while (proxy_logged(proxy, text) == 0) {
		if (test_now_ms() > deadline)
			fail_msg("the proxy does not log '%s'", text);
		pause_briefly();
	}
}

static bool log_has_report(const struct proxy *proxy)
{
	static const char *const marks[] = {"ERROR: AddressSanitizer", "ERROR: LeakSanitizer",
					    "WARNING: ThreadSanitizer", "runtime error:"};
	char *text = log_read(proxy);
	bool found = false;

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		found |= strstr(text, marks[i]) != NULL;
	free(text);
	return found;
}

bool proxy_alive(const struct proxy *proxy)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)proxy->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0;
}

void proxy_check(const struct proxy *proxy)
{
	bool alive = proxy_alive(proxy), report = log_has_report(proxy);

	if (alive && !report)
		return;
	proxy_print_log(proxy);
	fail_msg("the proxy %s", alive ? "left a sanitizer's report" : "has died");
}

/* ---- start ----------------------------------------------------------------------------------- */

/* The listeners exist before the programs are loaded and the threads run, so that a connection is
 * not enough: something must answer on it. An empty frame is answered with an error. */
static bool answers(const struct sockaddr *address, socklen_t length)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	uint8_t header[XY_HEADER_SIZE] = {0};
	bool answered;

	assert_true(fd >= 0);
	answered = connect(fd, address, length) == 0 &&
		   send(fd, header, sizeof(header), MSG_NOSIGNAL) == sizeof(header) &&
		   poll(&pollfd, 1, TEST_TIMEOUT_MS) == 1 &&
		   recv(fd, header, sizeof(header), MSG_WAITALL) == sizeof(header);
	close(fd);
	return answered;
}

static bool is_ready(const struct proxy *proxy)
{
	struct sockaddr_in tcp = {.sin_family = AF_INET,
				  .sin_port = htons(proxy->port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un local = {.sun_family = AF_UNIX};

	memcpy(local.sun_path, proxy->unix_path, strlen(proxy->unix_path));
	return answers((struct sockaddr *)&tcp, sizeof(tcp)) &&
	       answers((struct sockaddr *)&local, sizeof(local));
}

static void exec_proxy(const struct proxy *proxy, const char *const *more)
{
	const char *const *secure = secure_arguments();
	const char *argv[ARGUMENTS_MAX + 1] = {
		proxy_binary(),  "serve",
		"--listen",      proxy->server,
		"--listen",      proxy->unix_address,
		"--instance",    proxy->instance,
		"--kernel-path", proxy->kernel_path == KERNEL_PATH_ON ? "on" : "off",
	};
	int count = 10;

	if (sandbox_cgroup() != NULL) {
		argv[count++] = "--cgroup";
		argv[count++] = sandbox_cgroup();
	}
	while (more != NULL && *more != NULL && count < ARGUMENTS_MAX)
		argv[count++] = *more++;
	if (secure != NULL && count < ARGUMENTS_MAX - 1) {
		argv[count++] = "--listen";
		argv[count++] = proxy->secure;
	}
	while (secure != NULL && *secure != NULL && count < ARGUMENTS_MAX)
		argv[count++] = *secure++;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	dup2(proxy->log, STDERR_FILENO);
	dup2(proxy->log, STDOUT_FILENO);
	execv(argv[0], (char *const *)argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void proxy_free(struct proxy *proxy)
{
	unlink(proxy->unix_path);
	close(proxy->log);
	free(proxy);
}

/* Until it answers, or has ended. */
static void proxy_run(struct proxy *proxy)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	proxy->ending = false;
	proxy->pid = fork();
	assert_true(proxy->pid >= 0);
	if (proxy->pid == 0)
		exec_proxy(proxy, proxy->arguments);
	while (proxy_alive(proxy) && !is_ready(proxy)) {
		if (test_now_ms() > deadline) {
			proxy_print_log(proxy);
			proxy_kill(proxy);
			fail_msg("the proxy takes no connections");
		}
		pause_briefly();
	}
	if (proxy_alive(proxy))
		proxy->idle = proxy_descriptors(proxy);
}

struct proxy *proxy_start(enum kernel_path kernel_path, const char *const *arguments)
{
	const char *problem = sandbox_enter();
	struct proxy *proxy;
	uint32_t random;
	int status;

	if (problem != NULL && kernel_path == KERNEL_PATH_ON) {
		print_message("no kernel path here: %s\n", problem);
		return NULL;
	}
	proxy = calloc(1, sizeof(*proxy));
	assert_non_null(proxy);
	assert_int_equal(getrandom(&random, sizeof(random), 0), sizeof(random));
	proxy->kernel_path = kernel_path;
	proxy->port = free_port();
	proxy->log = memfd_create("proxy-log", MFD_CLOEXEC);
	assert_true(proxy->log >= 0);
	assert_int_equal(fcntl(proxy->log, F_SETFL, O_APPEND), 0);
	snprintf(proxy->instance, sizeof(proxy->instance), "test-%08x", random);
	proxy->secure_port = free_port();
	snprintf(proxy->secure, sizeof(proxy->secure), "tls:127.0.0.1:%u", proxy->secure_port);
	snprintf(proxy->server, sizeof(proxy->server), "127.0.0.1:%u", proxy->port);
	snprintf(proxy->unix_path, sizeof(proxy->unix_path), "/tmp/xylem-%08x.sock", random);
	snprintf(proxy->unix_address, sizeof(proxy->unix_address), "unix:%s", proxy->unix_path);
	proxy->arguments = arguments;
	secure_arguments(); /* made here, not in the child */
	proxy_run(proxy);
	if (proxy_alive(proxy))
		return proxy;
	waitpid(proxy->pid, &status, 0);
	proxy_print_log(proxy);
	proxy_free(proxy);
	if (kernel_path == KERNEL_PATH_OFF || !WIFEXITED(status) ||
	    WEXITSTATUS(status) != EXIT_NO_KERNEL_PATH)
		fail_msg("the proxy does not start: status %#x", status);
	return NULL;
}

void proxy_restart(struct proxy *proxy)
{
	proxy_run(proxy);
	if (!proxy_alive(proxy)) {
		proxy_print_log(proxy);
		fail_msg("the proxy does not start again");
	}
}

/* ---- stop ------------------------------------------------------------------------------------ */

void proxy_signal(struct proxy *proxy, int signal)
{
	proxy->ending = proxy->ending || signal == SIGTERM;
	assert_int_equal(kill(proxy->pid, signal), 0);
}

void proxy_pause(struct proxy *proxy)
{
	int status = 0;

	proxy_signal(proxy, SIGSTOP);
	assert_int_equal(waitpid(proxy->pid, &status, WUNTRACED), proxy->pid);
	assert_true(WIFSTOPPED(status));
}

void proxy_resume(struct proxy *proxy)
{
	proxy_signal(proxy, SIGCONT);
}

void proxy_kill(struct proxy *proxy)
{
	if (proxy == NULL)
		return;
	if (proxy_alive(proxy))
		kill(proxy->pid, SIGKILL);
	waitpid(proxy->pid, NULL, 0);
	proxy_free(proxy);
}

int proxy_await_status(struct proxy *proxy)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	int status;

	while (proxy_alive(proxy)) {
		if (test_now_ms() > deadline) {
			proxy_print_log(proxy);
			fail_msg("the proxy does not end after SIGTERM");
		}
		pause_briefly();
	}
	waitpid(proxy->pid, &status, 0);
	return status;
}

/* Fails when its end was none to be proud of. */
void proxy_await_end(struct proxy *proxy)
{
	int status = proxy_await_status(proxy);
	bool report = log_has_report(proxy);

	if (status != 0 || report)
		proxy_print_log(proxy);
	if (status != 0)
		fail_msg("the proxy ended with status %#x", status);
	if (report)
		fail_msg("the proxy left a sanitizer's report");
}

void proxy_end(struct proxy *proxy, int signal)
{
	proxy_signal(proxy, signal);
	if (signal == SIGKILL)
		waitpid(proxy->pid, NULL, 0);
	else
		proxy_await_end(proxy);
}

void proxy_stop(struct proxy *proxy)
{
	if (proxy == NULL)
		return;
	if (!proxy->ending && proxy_alive(proxy))
		proxy_signal(proxy, SIGTERM);
	proxy_await_end(proxy);
	proxy_free(proxy);
}

/* ---- facts ----------------------------------------------------------------------------------- */

enum kernel_path proxy_kernel_path(const struct proxy *proxy)
{
	return proxy->kernel_path;
}

const char *proxy_server(const struct proxy *proxy)
{
	return proxy->server;
}

const char *proxy_unix(const struct proxy *proxy)
{
	return proxy->unix_address;
}

const char *proxy_instance(const struct proxy *proxy)
{
	return proxy->instance;
}

uint16_t proxy_secure_port(const struct proxy *proxy)
{
	return proxy->secure_port;
}

uint16_t proxy_port(const struct proxy *proxy)
{
	return proxy->port;
}

pid_t proxy_pid(const struct proxy *proxy)
{
	return proxy->pid;
}

unsigned proxy_descriptors(const struct proxy *proxy)
{
	char path[64];
	unsigned count = 0;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fd", proxy->pid);
	directory = opendir(path);
	if (directory == NULL)
		return 0;
	for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

void proxy_wait_idle(struct proxy *proxy)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	unsigned now;

	while ((now = proxy_descriptors(proxy)) > proxy->idle) {
		if (test_now_ms() > deadline)
			fail_msg("the proxy has %u descriptors open, %u when idle", now,
				 proxy->idle);
		pause_briefly();
	}
	/* What was counted first may have held a connection of the start. */
	proxy->idle = now;
}

/* ---- groups ---------------------------------------------------------------------------------- */

static enum kernel_path group_kernel_path;
static const char *const *group_arguments;
static bool group_ended; /* as it should: cmocka does not count a teardown that fails */

static int group_setup(void **state)
{
	*state = proxy_start(group_kernel_path, group_arguments);
	return *state != NULL ? 0 : -1;
}

static int group_teardown(void **state)
{
	proxy_stop(*state);
	group_ended = true;
	return 0;
}

int proxy_test_teardown(void **state)
{
	raw_close_all();
	proxy_check(*state);
	proxy_wait_idle(*state);
	return 0;
}

static bool kernel_path_missing;

/* A test, so that a machine without a kernel path shows as a skip and not as silence. */
static void test_kernel_path_is_there(void **state)
{
	struct proxy *proxy = proxy_start(KERNEL_PATH_ON, group_arguments);

	(void)state;
	kernel_path_missing = proxy == NULL;
	proxy_stop(proxy);
	if (kernel_path_missing)
		skip();
}

int proxy_run_group_both(const char *name, const struct CMUnitTest *tests, size_t count,
			 const char *const *arguments)
{
	const struct CMUnitTest probe[] = {cmocka_unit_test(test_kernel_path_is_there)};
	const char *only = getenv("XYLEM_KERNEL_PATH");
	char title[128];
	int failures = 0;

	group_arguments = arguments;
	for (int path = KERNEL_PATH_OFF; path <= KERNEL_PATH_ON; path++) {
		const char *word = path == KERNEL_PATH_ON ? "on" : "off";

		if (only != NULL && strcmp(only, word) != 0)
			continue;
		if (path == KERNEL_PATH_ON) {
			int failed = cmocka_run_group_tests(probe, NULL, NULL);

			failures += failed;
			if (failed > 0 || kernel_path_missing)
				break;
		}
		group_kernel_path = (enum kernel_path)path;
		snprintf(title, sizeof(title), "%s, kernel path %s", name, word);
		print_message("---- %s ----\n", title);
		group_ended = false;
		failures +=
			_cmocka_run_group_tests(title, tests, count, group_setup, group_teardown);
		failures += !group_ended;
	}
	return failures;
}
