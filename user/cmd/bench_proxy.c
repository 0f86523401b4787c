/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/admin.h"
#include "cmd/bench.h"
#include "cmd/stop.h"

#define QUESTIONS_MAX 40
#define PAUSE_MS      50

/* Whether this status is of the proxy that serves the first worker. */
static bool is_ours(const json_t *status, const struct xy_bench_run *run)
{
	const json_t *connection;
	char endpoint[17];
	size_t i;

	snprintf(endpoint, sizeof(endpoint), "%016" PRIx64, run->worker[0].endpoint);
	json_array_foreach(json_object_get(status, "connections"), i, connection)
	{
		const char *text = json_string_value(json_object_get(connection, "endpoint"));

		if (text && !strcmp(text, endpoint))
			return true;
	}
	return false;
}

static bool is_stuck(const json_t *status)
{
	const json_t *loop;
	size_t i;

	json_array_foreach(json_object_get(status, "loops"), i, loop)
	{
		if (json_is_true(json_object_get(loop, "stuck")))
			return true;
	}
	return false;
}

/* The pid of the proxy behind this socket, 0 if it is not ours. What a loop that is stuck owns is
 * missing: then it is asked again. 0 or -errno. */
static int pid_ask(const struct xy_admin_where *where, const struct xy_bench_run *run,
		   pid_t *ret_pid)
{
	bool again = true;

	*ret_pid = 0;
	for (unsigned asked = 0; again && asked < QUESTIONS_MAX && !xy_stop_wanted(); asked++) {
		json_t *status;
		int r = xy_admin_ask(where, "status", &status);

		if (r)
			return r;
		again = false;
		if (is_ours(status, run)) {
			*ret_pid = (pid_t)json_integer_value(json_object_get(status, "pid"));
		} else if (is_stuck(status)) {
			poll(NULL, 0, PAUSE_MS);
			again = true;
		}
		json_decref(status);
	}
	return 0;
}

int xy_bench_proxy_find(const struct xy_bench *bench, const struct xy_command *command,
			const struct xy_bench_run *run, pid_t *ret_pid)
{
	struct xy_admin_where where = bench->where;
	char names[64];
	int r;

	*ret_pid = (pid_t)bench->proxy_pid;
	if (bench->proxy_pid)
		return XY_CMD_OK;
	/* Who named none may do without. */
	if (!*where.path) {
		if (!xy_admin_find(NULL, where.path, names, sizeof(names)))
			pid_ask(&where, run, ret_pid);
		return XY_CMD_OK;
	}
	r = pid_ask(&where, run, ret_pid);
	if (r)
		return xy_admin_complain(command, &where, r);
	if (*ret_pid || xy_stop_wanted())
		return XY_CMD_OK;
	return xy_options_complain(command,
				   "option --%s: that proxy is not the one that --server names",
				   where.admin ? "admin" : "instance");
}

/* The sum of the switches that a thread's status file tells, of both kinds. */
static uint64_t switches_of(int directory, const char *thread)
{
	char path[32], text[4096];
	uint64_t sum = 0;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "%.20s/status", thread);
	fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[got > 0 ? got : 0] = 0;
	for (const char *at = text; (at = strstr(at, "voluntary_ctxt_switches:"));) {
		at += strcspn(at, ":") + 1;
		sum += strtoull(at, NULL, 10);
	}
	return sum;
}

int xy_bench_proxy_usage(pid_t pid, struct xy_bench_usage *ret_usage)
{
	struct xy_bench_usage usage = {0};
	const struct dirent *entry;
	struct timespec time;
	clockid_t clock;
	char path[64];
	DIR *tasks;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &time))
		return -ESRCH;
	usage.cpu_ns = (uint64_t)time.tv_sec * XY_NS_PER_S + (uint64_t)time.tv_nsec;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return -errno;
	while ((entry = readdir(tasks)))
		if (*entry->d_name != '.')
			usage.switches += switches_of(dirfd(tasks), entry->d_name);
	closedir(tasks);
	*ret_usage = usage;
	return 0;
}
