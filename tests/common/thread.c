/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/thread.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "common/proxy.h"

static bool is_named(pid_t process, pid_t thread, const char *name)
{
	char path[64], line[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", process, thread);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	if (fgets(line, sizeof(line), file) == NULL)
		line[0] = '\0';
	fclose(file);
	line[strcspn(line, "\n")] = '\0';
	return strcmp(line, name) == 0;
}

static pid_t thread_find(pid_t process, const char *name)
{
	char path[64];
	pid_t found = -1;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/task", process);
	directory = opendir(path);
	assert_non_null(directory);
	for (const struct dirent *entry; found < 0 && (entry = readdir(directory)) != NULL;) {
		pid_t thread = (pid_t)atoi(entry->d_name);

		if (thread > 0 && is_named(process, thread, name))
			found = thread;
	}
	closedir(directory);
	return found;
}

pid_t thread_stop(pid_t process, const char *name)
{
	uint64_t end = test_now_ms() + TEST_TIMEOUT_MS;
	pid_t thread;
	int status;

	/* A thread gives itself its name, perhaps after others serve already. */
	while ((thread = thread_find(process, name)) < 0 && test_now_ms() < end)
		poll(NULL, 0, 2);
	if (thread < 0)
		fail_msg("process %d has no thread %s", process, name);
	assert_int_equal(ptrace(PTRACE_SEIZE, thread, 0, 0), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, thread, 0, 0), 0);
	assert_int_equal(waitpid(thread, &status, __WALL), thread);
	assert_true(WIFSTOPPED(status));
	return thread;
}

void thread_go(pid_t thread)
{
	assert_int_equal(ptrace(PTRACE_DETACH, thread, 0, 0), 0);
}

void thread_await_end(pid_t thread)
{
	uint64_t end = test_now_ms() + TEST_TIMEOUT_MS;
	pid_t ended;

	/* Its process has not ended for others before its tracer knows. */
	while ((ended = waitpid(thread, NULL, __WALL | WNOHANG)) == 0 && test_now_ms() < end)
		poll(NULL, 0, 5);
	assert_int_equal(ended, thread);
}
