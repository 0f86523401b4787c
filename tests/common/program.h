/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Other programs as parts of a test: started without a shell, read line by line.
 *
 * They inherit the test's network namespace and cgroup. Every function fails the running cmocka
 * test when it cannot do what it says. One thread.
 */
#ifndef TEST_PROGRAM_H
#define TEST_PROGRAM_H

#include <stddef.h>
#include <sys/types.h>

#define PROGRAM_LINE_MAX   4096
#define PROGRAM_TIMEOUT_MS 60000 /* for a line, for an end; only a failing test sees it pass */

struct program;

/* argv[0] is looked up in PATH. Standard output is a pipe to the test, input is empty. */
struct program *program_start(const char *const *argv);
/* The next line of its output, without the newline. Valid until the next call. */
const char *program_line(struct program *program);
/* The next line is exactly this. */
void program_expect(struct program *program, const char *line);
pid_t program_pid(const struct program *program);
/* It prints nothing more and ends with this status. Frees it. */
void program_end(struct program *program, int status);
/* As program_end, but whatever it still prints is skipped. */
void program_finish(struct program *program, int status);
/* Ends those that a failed test left behind. */
void program_kill_all(void);

#endif
