/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A command that turns bytes on its standard input into bytes on its standard output, run without
 * ever blocking the caller, who polls and steps it.
 */
#ifndef XY_CMD_CHILD_H
#define XY_CMD_CHILD_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct xy_child {
	pid_t pid;
	int to, from; /* its standard input and output; -1 = closed */
	const char *input;
	size_t input_length, input_sent;
	char *output;
	size_t output_length, output_size, output_maximum;
};

/* Runs `line` by /bin/sh in a process group of its own. `input` must live until stop. 0 or -errno.
 */
int xy_child_start(struct xy_child *child, const char *line, const void *input, size_t length,
		   size_t output_maximum);
/* What to poll: two entries, fd -1 where nothing is awaited. */
void xy_child_polls(const struct xy_child *child, struct pollfd polled[2]);
/* Moves what can be moved. 0: goes on. 1: it closed its output. -EFBIG: more than the maximum;
 * or another -errno. */
int xy_child_step(struct xy_child *child);
/* Waits for its end and frees the output; `force` kills the group first. Returns the wait status.
 */
int xy_child_stop(struct xy_child *child, bool force);

#endif
