/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a proxy has given up when it serves: capabilities, its user, system calls. And that what it
 * left in the file system is removed all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/captive.h"
#include "common/command.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"
#include "edge/filter.h"

#define CAP_BPF_BIT (1ull << 39)
#define OTHER       "4711:4712"

/* ---- looking at processes -------------------------------------------------------------------- */

/* The number behind "NAME:" in a status file of /proc; ~0: there is none. */
static unsigned long long field(const char *path, const char *name, int base)
{
	unsigned long long number = ~0ull;
	FILE *file = fopen(path, "re");
	char line[256];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
			number = strtoull(line + strlen(name) + 1, NULL, base);
	if (file != NULL)
		fclose(file);
	return number;
}

static unsigned long long expected_capabilities(const struct proxy *proxy)
{
	json_t *status = status_take(proxy), *given;
	unsigned long long expected = 0;

	given = json_object_get(json_object_get(status, "confinement"), "capabilities");
	assert_true(json_is_array(given) && json_array_size(given) <= 1);
	if (json_array_size(given) == 1) {
		assert_string_equal(json_string_value(json_array_get(given, 0)), "CAP_BPF");
		expected = CAP_BPF_BIT;
	}
	json_decref(status);
	return expected;
}

static void check_thread(const char *path, unsigned user, unsigned group,
			 unsigned long long capabilities)
{
	assert_int_equal(field(path, "Uid", 10), user);
	assert_int_equal(field(path, "Gid", 10), group);
	assert_int_equal(field(path, "CapPrm", 16), capabilities);
	assert_int_equal(field(path, "CapEff", 16), capabilities);
	assert_int_equal(field(path, "CapInh", 16), 0);
	assert_int_equal(field(path, "CapAmb", 16), 0);
	assert_int_equal(field(path, "NoNewPrivs", 10), 1);
	assert_int_equal(field(path, "Seccomp", 10), XY_FILTER_BUILT ? 2 : 0);
}

/* Each of its threads; returns how many. */
static unsigned check_threads(const struct proxy *proxy, unsigned user, unsigned group)
{
	unsigned long long capabilities = expected_capabilities(proxy);
	char pattern[64], path[PATH_MAX];
	unsigned threads = 0;
	FILE *list;

	if (proxy_kernel_path(proxy) == KERNEL_PATH_OFF)
		assert_int_equal(capabilities, 0);
	snprintf(pattern, sizeof(pattern), "ls -d /proc/%d/task/*", proxy_pid(proxy));
	list = popen(pattern, "re");
	assert_non_null(list);
	while (fgets(path, sizeof(path) - 8, list) != NULL) {
		strcpy(path + strcspn(path, "\n"), "/status");
		check_thread(path, user, group, capabilities);
		threads++;
	}
	pclose(list);
	return threads;
}

static pid_t sweeper_of(const struct proxy *proxy)
{
	char path[64], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", proxy_pid(proxy),
		 proxy_pid(proxy));
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	return (pid_t)atoi(text);
}

static void traffic(const struct proxy *proxy)
{
	struct raw *publisher = raw_open(proxy), *subscriber = raw_open(proxy);
	struct raw *local = raw_open_unix(proxy);
	uint64_t topic;

	raw_subscribe_to(subscriber, "confined.a");
	raw_subscribe_to(local, "confined.b");
	topic = raw_declare(publisher, "confined.a");
	for (uint64_t n = 1; n <= 8; n++) {
		raw_publish(publisher, topic, n, "text");
		raw_expect_text(subscriber, "text");
	}
	topic = raw_declare(publisher, "confined.b");
	raw_publish(publisher, topic, 9, "text");
	raw_expect_text(local, "text");
	raw_leave(publisher);
	raw_leave(subscriber);
	raw_leave(local);
}

/* ---- what it may ----------------------------------------------------------------------------- */

static void test_every_thread_has_given_up_what_it_needs_no_more(void **state)
{
	const struct proxy *proxy = *state;
	json_t *status, *confinement;

	/* main, acceptor, router, admin, one loop, and that of deferred work */
	assert_in_range(check_threads(proxy, geteuid(), getegid()), 6, 100);
	assert_int_equal(proxy_logged(proxy, "event=confined active=yes"), 1);
	status = status_take(proxy);
	confinement = json_object_get(status, "confinement");
	assert_true(json_is_true(json_object_get(confinement, "active")));
	assert_int_equal(json_is_true(json_object_get(confinement, "filter")), XY_FILTER_BUILT);
	assert_int_equal(status_number(confinement, "user"), geteuid());
	json_decref(status);
	traffic(proxy);
}

/* ---- another user ---------------------------------------------------------------------------- */

static bool exists(const char *format, const char *name)
{
	char path[256];
	struct stat status;

	snprintf(path, sizeof(path), format, name);
	return lstat(path, &status) == 0;
}

static void other_user(enum kernel_path kernel_path)
{
	static const char *const arguments[] = {"--user", OTHER, NULL};
	struct proxy *proxy = proxy_start(kernel_path, arguments);
	char name[64], path[128], unix_path[128];
	struct stat status;
	pid_t sweeper;

	if (proxy == NULL)
		return;
	snprintf(name, sizeof(name), "%s", proxy_instance(proxy));
	snprintf(unix_path, sizeof(unix_path), "%s", proxy_unix(proxy) + strlen("unix:"));
	check_threads(proxy, 4711, 4712);
	/* Its own to ask, and nobody else's but root's. */
	snprintf(path, sizeof(path), "/run/xylem/%s.sock", name);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_uid, 4711);
	assert_int_equal(status.st_mode & 0777, 0600);
	traffic(proxy);
	sweeper = sweeper_of(proxy);
	snprintf(path, sizeof(path), "/proc/%d/status", sweeper);
	assert_int_equal(field(path, "CapEff", 16), 0);
	assert_int_equal(field(path, "NoNewPrivs", 10), 1);
	/* Paths that it could not remove by itself. */
	proxy_stop(proxy);
	assert_false(exists("/run/xylem/%s.sock", name));
	assert_false(exists("/run/xylem/%s.lock", name));
	assert_false(exists("/sys/fs/bpf/xylem/%s", name));
	assert_false(exists("%s", unix_path));
	assert_int_equal(kill(sweeper, 0), -1);
}

static void test_it_becomes_another_user_and_leaves_nothing_behind(void **state)
{
	(void)state;
	other_user(KERNEL_PATH_OFF);
	other_user(KERNEL_PATH_ON);
}

/* Nobody reaps it here, perhaps. */
static bool lives(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return field(path, "VmSize", 10) != ~0ull;
}

static void test_a_killed_proxy_takes_its_sweeper_along_and_starts_again(void **state)
{
	static const char *const arguments[] = {"--user", OTHER, NULL};
	struct proxy *proxy = proxy_start(KERNEL_PATH_OFF, arguments);
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	pid_t sweeper = sweeper_of(proxy);

	(void)state;
	assert_true(lives(sweeper));
	proxy_end(proxy, SIGKILL);
	while (lives(sweeper)) {
		assert_true(test_now_ms() < deadline);
		poll(NULL, 0, 2);
	}
	/* Its paths are the next one's to replace: a sweeper that comes late must not take them. */
	assert_true(exists("/run/xylem/%s.sock", proxy_instance(proxy)));
	proxy_restart(proxy);
	traffic(proxy);
	proxy_stop(proxy);
}

/* That is how tests and supervisors make sure of it. */
static void test_it_still_ends_with_its_parent(void **state)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	pid_t parent, proxy;
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	parent = fork();
	assert_true(parent >= 0);
	if (parent == 0) {
		struct running running = LISTENING("--kernel-path", "off", "--user", OTHER);

		await(running, "event=started");
		_exit(write(ends[1], &running.pid, sizeof(running.pid)) < 0);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &proxy, sizeof(proxy)), sizeof(proxy));
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	while (lives(proxy)) {
		assert_true(test_now_ms() < deadline);
		poll(NULL, 0, 2);
	}
	close(ends[0]);
}

static void as_nobody(void)
{
	if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
		_exit(126);
}

static void test_others_of_its_user_cannot_look_into_it(void **state)
{
	struct running running =
		start(as_nobody, STRINGS("serve", "--listen", ANY_PORT, "--kernel-path", "off"));
	struct stat status;
	char path[64];

	(void)state;
	await(running, "event=started");
	SAYS("user=65534", "capabilities=none");
	/* Of a process that may not be dumped, /proc is root's. */
	snprintf(path, sizeof(path), "/proc/%d/fd", running.pid);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_uid, 0);
	works(running);
}

/* Root as xylem.service has it. */
static void as_unit(void)
{
	static const int taken[] = {CAP_SETUID, CAP_SETGID, CAP_CHOWN};

	for (size_t c = 0; c < LENGTH(taken); c++)
		if (prctl(PR_CAPBSET_DROP, taken[c], 0, 0, 0))
			_exit(126);
}

static void test_users_that_cannot_be_had_are_refused(void **state)
{
	(void)state;
	SERVE("--listen", ANY_PORT, "--user", "no-such-user");
	ended(USAGE);
	SAYS("--user", "no user 'no-such-user'");
	SERVE("--listen", ANY_PORT, "--user", "root:no-such-group");
	ended(USAGE);
	SAYS("--user", "no group 'no-such-group'");
	SERVE("--listen", ANY_PORT, "--user", "4294967295");
	ended(USAGE);
	SAYS("--user", "no user '4294967295'");
	SERVE("--listen", ANY_PORT, "--user", "root", "--confine", "off");
	ended(USAGE);
	SAYS("--user: it goes with --confine on only");
	run(as_nobody,
	    STRINGS("serve", "--listen", ANY_PORT, "--kernel-path", "off", "--user", "root"));
	ended(USAGE);
	SAYS("option=--user", "start as root");
	run(as_unit, STRINGS("serve", "--listen", ANY_PORT, "--user", OTHER));
	ended(USAGE);
	SAYS("option=--user", "Operation not permitted", "CAP_SETUID, CAP_SETGID and CAP_CHOWN",
	     "User=");
}

static void test_names_stand_for_users_and_their_groups(void **state)
{
	struct running running = LISTENING("--kernel-path", "off", "--user", "nobody:0");

	(void)state;
	await(running, "event=started");
	SAYS("user=65534 group=0 ");
	works(running);
}

/* ---- a loop that is not itself --------------------------------------------------------------- */

static const char *const attempt_names[] = {
#define X(name, expression) [CAPTIVE_##name] = #name,
	CAPTIVE_ATTEMPTS(X)
#undef X
};

static struct captive *captive_begin(char path[64])
{
	char binary[PATH_MAX], library[PATH_MAX];
	struct captive *captive;
	int fd;

	strcpy(path, "/tmp/xylem-captive-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, sizeof(*captive)), 0);
	captive = mmap(NULL, sizeof(*captive), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(captive, MAP_FAILED);
	close(fd);
	snprintf(binary, sizeof(binary), "%s", proxy_binary());
	snprintf(library, sizeof(library), "%.*s/tests/captive.so", PATH_MAX - 32, dirname(binary));
	assert_int_equal(access(library, R_OK), 0);
	setenv("LD_PRELOAD", library, 1);
	setenv(CAPTIVE_VARIABLE, path, 1);
	return captive;
}

static void captive_end(struct captive *captive, const char *path)
{
	munmap(captive, sizeof(*captive));
	unlink(path);
}

/* What became of each attempt. */
static struct captive captive_run(enum kernel_path kernel_path, const char *const *arguments)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	struct captive *captive, result;
	struct proxy *proxy;
	char path[64];

	captive = captive_begin(path);
	proxy = proxy_start(kernel_path, arguments);
	unsetenv("LD_PRELOAD");
	unsetenv(CAPTIVE_VARIABLE);
	if (proxy == NULL) {
		captive_end(captive, path);
		skip();
	}
	atomic_store(&captive->wanted, true);
	while (!atomic_load(&captive->done)) {
		assert_true(test_now_ms() < deadline);
		traffic(proxy); /* wakes it */
	}
	result = *captive;
	traffic(proxy); /* nobody else was hurt */
	proxy_stop(proxy);
	captive_end(captive, path);
	return result;
}

static void all_are_refused(enum kernel_path kernel_path)
{
	static const char *const arguments[] = {"--loops", "1", NULL};
	struct captive captive = captive_run(kernel_path, arguments);

	for (int a = 0; a < CAPTIVE_COUNT; a++)
		if (captive.error[a] != EPERM)
			fail_msg("%s: error %d", attempt_names[a], captive.error[a]);
}

static void test_a_loop_that_is_not_itself_gets_nowhere(void **state)
{
	(void)state;
	if (!XY_FILTER_BUILT)
		return;
	all_are_refused(KERNEL_PATH_OFF);
	all_are_refused(KERNEL_PATH_ON);
}

/* What is read again may be read by a loop, too; what its user may not read, it may not. */
static void test_who_reads_files_again_can_read_those_of_its_user_only(void **state)
{
	const char *const arguments[] = {"--loops",
					 "1",
					 "--user",
					 OTHER,
					 "--token-file",
					 file_with("tokens", "a-token-of-some-length\n", 1),
					 "--anonymous",
					 "local",
					 NULL};
	struct captive captive;

	(void)state;
	if (!XY_FILTER_BUILT)
		return;
	captive = captive_run(KERNEL_PATH_OFF, arguments);
	for (int a = 0; a < CAPTIVE_COUNT; a++)
		if (captive.error[a] != (a == CAPTIVE_OPEN ? EACCES : EPERM))
			fail_msg("%s: error %d", attempt_names[a], captive.error[a]);
}

/* So it is the confinement that refuses them, and nothing else. */
static void test_unconfined_it_would(void **state)
{
	static const char *const arguments[] = {"--loops", "1", "--confine", "off", NULL};
	struct captive captive;

	(void)state;
	if (!XY_FILTER_BUILT)
		return;
	captive = captive_run(KERNEL_PATH_ON, arguments);
	for (int a = 0; a < CAPTIVE_COUNT; a++)
		if (captive.error[a] == EPERM)
			fail_msg("%s is refused here anyway", attempt_names[a]);
	assert_int_equal(captive.error[CAPTIVE_LOAD], 0);
	assert_int_equal(captive.error[CAPTIVE_OPEN], 0);
	assert_int_equal(captive.error[CAPTIVE_FORK], 0);
}

static int teardown(void **state)
{
	(void)state;
	raw_close_all();
	return 0;
}

#define TEST(function) cmocka_unit_test_teardown(function, teardown)

int main(void)
{
	const struct CMUnitTest confined[] = {
		proxy_test(test_every_thread_has_given_up_what_it_needs_no_more),
	};
	const struct CMUnitTest others[] = {
		TEST(test_it_becomes_another_user_and_leaves_nothing_behind),
		TEST(test_a_killed_proxy_takes_its_sweeper_along_and_starts_again),
		TEST(test_it_still_ends_with_its_parent),
		TEST(test_others_of_its_user_cannot_look_into_it),
		TEST(test_users_that_cannot_be_had_are_refused),
		TEST(test_names_stand_for_users_and_their_groups),
		TEST(test_a_loop_that_is_not_itself_gets_nowhere),
		TEST(test_who_reads_files_again_can_read_those_of_its_user_only),
		TEST(test_unconfined_it_would),
	};

	int failed;

	directory_make();
	failed = proxy_run_both(confined, NULL) + cmocka_run_group_tests(others, NULL, NULL);
	directory_remove();
	return failed;
}
