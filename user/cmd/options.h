/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options of a subcommand, declared once: one table drives the parsing, the checks, the defaults
 * and the text of --help.
 *
 * Errors go to standard error, name the option and say what would be right.
 */
#ifndef XY_CMD_OPTIONS_H
#define XY_CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the shell is told; shown by `xylem --help`. `serve` returns its own, enum xy_exit. */
enum xy_cmd_status {
	XY_CMD_OK = 0,
	XY_CMD_FAILURE = 1,
	XY_CMD_USAGE = 2,
	XY_CMD_UNREACHABLE = 3, /* nothing to connect to, or refused by it */
	XY_CMD_UNANSWERED = 4,  /* no reply, no responder, no message in time */
	XY_CMD_SIGNALLED = 130, /* stopped by a signal before the work was done */
};

/* Where a value goes, in the record that the command gives to the parser. */
enum xy_option_kind {
	XY_OPTION_FLAG,     /* bool */
	XY_OPTION_TEXT,     /* const char * */
	XY_OPTION_TEXTS,    /* struct xy_texts; may be given several times */
	XY_OPTION_NUMBER,   /* uint64_t, minimum … maximum */
	XY_OPTION_RATE,     /* double, > 0 */
	XY_OPTION_DURATION, /* uint64_t ms; "250ms", "2s", "1.5m"; a bare number counts seconds */
	XY_OPTION_SIZE,   /* uint64_t bytes, at least minimum (whole MiB); "64M", "1.5G"; K, M and G
			     are 2^10 … */
	XY_OPTION_CHOICE, /* const char *: one of the words of `argument`, "a|b|c" */
};

/* Where a value may come from: what is said on the command line wins over the environment, that
 * over the configuration file, that over the default. */
enum xy_option_origin {
	XY_FROM_ANYWHERE = 0,
	XY_FROM_ENVIRONMENT,  /* not from a file */
	XY_FROM_COMMAND_LINE, /* nor from the environment */
};

#define XY_OPTION_WHY_SIZE 256

#define XY_TEXTS_MAX 64
struct xy_texts {
	const char *item[XY_TEXTS_MAX];
	unsigned count;
};

struct xy_option {
	const char *name; /* long name, without dashes; NULL ends the table */
	char letter;      /* 0 = none */
	enum xy_option_kind kind;
	bool optional;        /* --name alone gives the fallback: --name[=ARGUMENT] */
	const char *argument; /* how the help calls it; choices for XY_OPTION_CHOICE */
	const char *help;
	const char *fallback;      /* default, as it would be typed; NULL = zero, shown by nobody */
	size_t offset;             /* of the value */
	size_t given;              /* of a bool: set when the option was typed; 0 = nobody asks */
	uint64_t minimum, maximum; /* of a number, duration or size; maximum 0 = none */
	enum xy_option_origin origin;
	/* Of a text: 0, or -EINVAL with the reason in why. NULL = any will do. */
	int (*check)(const char *text, char why[XY_OPTION_WHY_SIZE]);
};

#define XY_OPTIONS_MAX 32 /* of a command */

struct xy_command {
	const char *name;
	const char *arguments; /* "SUBJECT [MESSAGE]" */
	const char *summary;   /* one line */
	const char *details;   /* paragraphs below the options; may be NULL */
	const struct xy_option *options;
	const char *environment; /* what its options' variables begin with; NULL = it has none */
	unsigned positional_minimum, positional_maximum;
	int (*run)(int argc, char **argv); /* argv[0] is the subcommand's name */
};

/* Fills `values`, defaults included, and leaves the positional arguments at argv[*ret_first …].
 * True: go on. False: return *ret_status (help was asked for and printed, or usage was wrong). */
bool xy_options_parse(const struct xy_command *command, int argc, char **argv, void *values,
		      int *ret_first, int *ret_status);

/* The same in steps, for a command with more sources (sources.h): flags, what else there is, best
 * first, and the defaults of what nobody has given. Which options were given stands in `given`. */
struct xy_given {
	bool option[XY_OPTIONS_MAX]; /* in the order of the table */
};
bool xy_options_flags(const struct xy_command *command, int argc, char **argv, void *values,
		      struct xy_given *given, int *ret_first, int *ret_status);
bool xy_options_defaults(const struct xy_command *command, void *values,
			 const struct xy_given *given, int *ret_status);
/* One value, as it would be typed; the text must stay. False: why it cannot be, to be put behind
 * where it came from. */
bool xy_option_store(const struct xy_option *option, const char *text, void *values,
		     char why[XY_OPTION_WHY_SIZE]);

void xy_options_help(const struct xy_command *command);

/* "xylem NAME: …" and the pointer to --help on standard error; returns XY_CMD_USAGE. */
int xy_options_complain(const struct xy_command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
