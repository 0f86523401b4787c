/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/proxy.h"

struct program {
	struct program *next;
	const char *name;
	pid_t pid;
	int output;
	size_t filled, taken; /* bytes in buffer; of these, the line last given out */
	char buffer[PROGRAM_LINE_MAX];
};

static struct program *all;

struct program *program_start(const char *const *argv)
{
	struct program *program = calloc(1, sizeof(*program));
	int fds[2];

	assert_non_null(program);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	program->name = argv[0];
	program->output = fds[0];
	program->pid = fork();
	assert_true(program->pid >= 0);
	if (program->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], STDOUT_FILENO);
		dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
		execvp(argv[0], (char *const *)argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(fds[1]);
	program->next = all;
	all = program;
	return program;
}

/* Reads more of its output. False at the end. */
static bool output_read(struct program *program)
{
	struct pollfd pollfd = {.fd = program->output, .events = POLLIN};
	ssize_t got;

	assert_true(program->filled < sizeof(program->buffer));
	if (poll(&pollfd, 1, PROGRAM_TIMEOUT_MS) != 1)
		fail_msg("%s prints nothing", program->name);
	got = read(program->output, program->buffer + program->filled,
		   sizeof(program->buffer) - program->filled);
	assert_true(got >= 0);
	program->filled += (size_t)got;
	return got > 0;
}

/* NULL at the end of its output. */
static const char *next_line(struct program *program)
{
	char *end;

	program->filled -= program->taken;
	memmove(program->buffer, program->buffer + program->taken, program->filled);
	program->taken = 0;
	while ((end = memchr(program->buffer, '\n', program->filled)) == NULL)
		if (!output_read(program))
			return NULL;
	*end = '\0';
	program->taken = (size_t)(end - program->buffer) + 1;
	return program->buffer;
}

const char *program_line(struct program *program)
{
	const char *line = next_line(program);

	if (line == NULL)
		fail_msg("%s has ended instead of printing a line", program->name);
	return line;
}

void program_expect(struct program *program, const char *line)
{
	assert_string_equal(program_line(program), line);
}

pid_t program_pid(const struct program *program)
{
	return program->pid;
}

static void forget(struct program *program)
{
	for (struct program **link = &all; *link != NULL; link = &(*link)->next) {
		if (*link == program) {
			*link = program->next;
			break;
		}
	}
	close(program->output);
	free(program);
}

static void end(struct program *program, int expected)
{
	const char *name = program->name;
	uint64_t deadline = test_now_ms() + PROGRAM_TIMEOUT_MS;
	int status = 0;

	while (waitpid(program->pid, &status, WNOHANG) == 0) {
		if (test_now_ms() > deadline)
			fail_msg("%s does not end", name);
		poll(NULL, 0, 2);
	}
	program->pid = -1;
	forget(program);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
		fail_msg("%s ended with status %#x", name, status);
}

void program_end(struct program *program, int status)
{
	const char *line = next_line(program);

	if (line != NULL || program->filled > 0)
		fail_msg("%s prints \"%.200s\" instead of its end", program->name, program->buffer);
	end(program, status);
}

void program_finish(struct program *program, int status)
{
	while (next_line(program) != NULL)
		;
	end(program, status);
}

void program_kill_all(void)
{
	while (all != NULL) {
		if (all->pid > 0) {
			kill(all->pid, SIGKILL);
			waitpid(all->pid, NULL, 0);
		}
		forget(all);
	}
}
