/* SPDX-License-Identifier: BSD-2-Clause */
#include "edge/sweeper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edge/privileges.h"

#define KEPT 0 /* the descriptor that it keeps */

static _Noreturn void sweeper_run(int pipe, void (*sweep)(void *context), void *context)
{
	sigset_t all;
	ssize_t got;
	char byte;

	/* A signal to the whole group is meant for the proxy, whose end this one awaits. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_NAME, "xylem-sweeper");
	/* Listeners and links must not outlive the proxy, however it ends. */
	if (dup2(pipe, KEPT) < 0 || close_range(KEPT + 1, ~0u, 0) || xy_privileges_drop())
		_exit(1);
	do
		got = read(KEPT, &byte, 1);
	while (got < 0 && errno == EINTR);
	if (got == 1)
		sweep(context);
	_exit(0);
}

int xy_sweeper_start(void (*sweep)(void *context), void *context, struct xy_sweeper *ret_sweeper)
{
	int ends[2], error;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid == 0)
		sweeper_run(ends[0], sweep, context);
	error = pid < 0 ? -errno : 0;
	close(ends[0]);
	if (error)
		close(ends[1]);
	else
		*ret_sweeper = (struct xy_sweeper){.pid = pid, .pipe = ends[1]};
	return error;
}

void xy_sweeper_sweep(struct xy_sweeper *sweeper)
{
	pid_t pid = sweeper->pid;

	if (!pid)
		return;
	sweeper->pid = 0;
	if (write(sweeper->pipe, "", 1) == 1)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	close(sweeper->pipe);
}
