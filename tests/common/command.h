/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program `xylem` as its user sees it: arguments in, an exit status and text out.
 *
 * Every function fails the running cmocka test when it cannot do what it says. One thread.
 */
#ifndef TEST_COMMAND_H
#define TEST_COMMAND_H

#include <stddef.h>
#include <sys/types.h>

#include "common/proxy.h"

#define OK          0
#define FAILURE     1
#define USAGE       2
#define UNREACHABLE 3
#define UNANSWERED  4
#define NO_KERNEL   5
#define SIGNALLED   130

#define ARGUMENTS_MAX  64
#define ANY_PORT       "127.0.0.1:0"
#define LENGTH(a)      (sizeof(a) / sizeof((a)[0]))
#define STRINGS(...)   ((const char *const[]){__VA_ARGS__, NULL})
#define RUN(...)       run(NULL, STRINGS(__VA_ARGS__))
#define SERVE(...)     run(NULL, STRINGS("serve", "--kernel-path", "off", __VA_ARGS__))
#define SAYS(...)      says(outcome.err, STRINGS(__VA_ARGS__))
#define LISTENING(...) start(NULL, STRINGS("serve", "--listen", ANY_PORT, __VA_ARGS__))

#define TEXT_MAX (64 << 10)

/* What the last program that ended left. */
struct outcome {
	int status; /* -N: signal N */
	char out[TEXT_MAX], err[TEXT_MAX];
};
extern struct outcome outcome;

/* A program under way. */
struct running {
	pid_t pid;
	int out, err;
};

/* A directory of this test program's own, open to everybody; and a path in it. The last four paths
 * are kept. */
void directory_make(void);
void directory_remove(void); /* with the files in it */
/* Of a group of tests that has one, in a sandbox. */
int directory_setup(void **state);
int directory_teardown(void **state);
const char *directory_path(void);
const char *in_directory(const char *name);
/* A file in it with so many times this text, mode 0600. */
const char *file_with(const char *name, const char *text, size_t times);

/* A port of the loopback address that somebody listens on; returns the descriptor that does. */
#define PORT_TEXT_SIZE 32
int port_take(char address[PORT_TEXT_SIZE]);

/* `prepare` runs in the child. Arguments without the program's name, NULL at their end. */
struct running start(void (*prepare)(void), const char *const *arguments);
void finish(struct running running); /* until it has ended by itself; fills outcome */
void run(void (*prepare)(void), const char *const *arguments); /* both */
/* Waits until its standard error holds this, or it has ended. */
void await(struct running running, const char *words);
void works(struct running running); /* it starts, and ends with 0 when it is told to */

void show(void);                                           /* outcome, for people */
void ended(int status);                                    /* the last one's status is this */
void says(const char *text, const char *const *words);     /* all of them are in the text */
void says_not(const char *text, const char *const *words); /* none of them is */

#endif
