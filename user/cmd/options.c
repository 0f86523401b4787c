/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELP_COLUMN 30
#define HELP_WIDTH  96

/* getopt's value of option i: above every letter. */
#define OPTION_VALUE(i) (256 + (int)(i))
#define HELP_VALUE      255

int xy_options_complain(const struct xy_command *command, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "xylem %s: ", command->name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\nTry 'xylem %s --help'.\n", command->name);
	return XY_CMD_USAGE;
}

/* ---- help ------------------------------------------------------------------------------------ */

/* Prints words from `column` on, wrapped before HELP_WIDTH. */
static void help_text(const char *text, int at)
{
	if (at >= HELP_COLUMN) {
		putchar('\n');
		at = 0;
	}
	while (*text) {
		int length = (int)strcspn(text, " ");

		if (at > HELP_COLUMN && at + 1 + length > HELP_WIDTH) {
			putchar('\n');
			at = 0;
		}
		if (at < HELP_COLUMN)
			at += printf("%*s", HELP_COLUMN - at, "");
		else
			at += printf(" ");
		at += printf("%.*s", length, text);
		text += length;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static void help_option(const struct xy_option *option)
{
	char text[512];
	int at = 0;

	if (option->letter)
		at += printf("  -%c, --%s", option->letter, option->name);
	else
		at += printf("      --%s", option->name);
	if (option->kind != XY_OPTION_FLAG)
		at += printf(option->optional ? "[=%s]" : " %s", option->argument);
	if (option->fallback)
		snprintf(text, sizeof(text), "%s (default: %s)", option->help, option->fallback);
	else
		snprintf(text, sizeof(text), "%s", option->help);
	help_text(text, at);
}

void xy_options_help(const struct xy_command *command)
{
	printf("Usage: xylem %s [OPTION]…%s%s\n%s\n\n", command->name,
	       *command->arguments ? " " : "", command->arguments, command->summary);
	for (const struct xy_option *option = command->options; option->name; option++)
		help_option(option);
	help_text("show this text", printf("  -h, --help"));
	if (command->details)
		printf("\n%s", command->details);
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool parse_number(const struct xy_option *option, const char *text, uint64_t *ret_value)
{
	uint64_t maximum = option->maximum ? option->maximum : UINT64_MAX;
	unsigned long long value;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || value < option->minimum || value > maximum)
		return false;
	*ret_value = value;
	return true;
}

static bool parse_real(const char *text, double *ret_value, const char **ret_rest)
{
	double value;
	char *end;

	if (!strchr("0123456789.", *text) || !*text)
		return false;
	errno = 0;
	value = strtod(text, &end);
	if (errno || end == text || !isfinite(value))
		return false;
	*ret_value = value;
	*ret_rest = end;
	return true;
}

static bool parse_duration(const char *text, uint64_t *ret_ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	const char *rest;
	double value;

	if (!parse_real(text, &value, &rest))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(rest, units[i].unit)) {
			value *= units[i].ms;
			/* Bounded by what a poll() can wait: 24 days. */
			if (value < 1 || value > INT32_MAX)
				return false;
			*ret_ms = (uint64_t)value;
			return true;
		}
	return false;
}

static bool parse_size(const char *text, uint64_t minimum, uint64_t *ret_bytes)
{
	static const char units[] = "KMG";
	const char *rest, *unit;
	double value;

	if (!parse_real(text, &value, &rest))
		return false;
	if (*rest) {
		unit = strchr(units, *rest);
		if (!unit || rest[1])
			return false;
		value *= (double)(1ull << (10 * (unit - units + 1)));
	}
	/* Of more than 2^53 a double does not know each byte, nor does any machine have them. */
	if (value < (double)minimum || value > (double)(1ull << 53))
		return false;
	*ret_bytes = (uint64_t)value;
	return true;
}

static const char *parse_choice(const char *choices, const char *text)
{
	size_t length = strlen(text);

	for (const char *at = choices; length; at += strcspn(at, "|") + 1) {
		if (strcspn(at, "|") == length && !memcmp(at, text, length))
			return text;
		if (!at[strcspn(at, "|")])
			return NULL;
	}
	return NULL;
}

/* Says why, and is false. */
__attribute__((format(printf, 2, 3))) static bool refuse(char *why, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, XY_OPTION_WHY_SIZE, format, arguments);
	va_end(arguments);
	return false;
}

static bool store_number(const struct xy_option *option, const char *text, uint64_t *value,
			 char *why)
{
	if (parse_number(option, text, value))
		return true;
	if (option->maximum)
		return refuse(why, "'%s' is not a number from %llu to %llu", text,
			      (unsigned long long)option->minimum,
			      (unsigned long long)option->maximum);
	return refuse(why, "'%s' is not a whole number of at least %llu", text,
		      (unsigned long long)option->minimum);
}

static bool store_rate(const char *text, double *value, char *why)
{
	const char *rest;
	double real;

	if (!parse_real(text, &real, &rest) || *rest || real <= 0)
		return refuse(why, "'%s' is not a rate; give messages per second, like 100", text);
	*value = real;
	return true;
}

static bool store_duration(const struct xy_option *option, const char *text, uint64_t *value,
			   char *why)
{
	if (parse_duration(text, value) && *value >= option->minimum &&
	    (!option->maximum || *value <= option->maximum))
		return true;
	if (option->maximum)
		return refuse(why, "'%s' is not a duration from %llu ms to %llu ms", text,
			      (unsigned long long)option->minimum,
			      (unsigned long long)option->maximum);
	return refuse(why, "'%s' is not a duration; write 250ms, 2s or 5m, at least 1ms", text);
}

bool xy_option_store(const struct xy_option *option, const char *text, void *values,
		     char why[XY_OPTION_WHY_SIZE])
{
	void *value = (char *)values + option->offset;
	struct xy_texts *texts = value;

	switch (option->kind) {
	case XY_OPTION_FLAG:
		*(bool *)value = true;
		return true;
	case XY_OPTION_TEXT:
		if (!*text)
			return refuse(why, "%s must not be empty", option->argument);
		if (option->check && option->check(text, why))
			return false;
		*(const char **)value = text;
		return true;
	case XY_OPTION_TEXTS:
		if (texts->count == XY_TEXTS_MAX)
			return refuse(why, "at most %d of them", XY_TEXTS_MAX);
		if (option->check && option->check(text, why))
			return false;
		texts->item[texts->count++] = text;
		return true;
	case XY_OPTION_NUMBER:
		return store_number(option, text, value, why);
	case XY_OPTION_RATE:
		return store_rate(text, value, why);
	case XY_OPTION_DURATION:
		return store_duration(option, text, value, why);
	case XY_OPTION_SIZE:
		return parse_size(text, option->minimum, value) ||
		       refuse(why, "'%s' is not a size of at least %lluM; write 64M or 1.5G", text,
			      (unsigned long long)option->minimum >> 20);
	case XY_OPTION_CHOICE:
		*(const char **)value = parse_choice(option->argument, text);
		return *(const char **)value ||
		       refuse(why, "'%s' is not one of %s", text, option->argument);
	}
	return false;
}

/* As it was typed, or a default. */
static bool store_typed(const struct xy_command *command, const struct xy_option *option,
			const char *text, void *values, int *ret_status)
{
	char why[XY_OPTION_WHY_SIZE];

	if (xy_option_store(option, text, values, why))
		return true;
	*ret_status = xy_options_complain(command, "option --%s: %s", option->name, why);
	return false;
}

/* ---- parsing --------------------------------------------------------------------------------- */

static int complain_unknown(const struct xy_command *command, char **argv)
{
	const char *typed = argv[optind - 1];
	size_t length;

	for (size_t i = 0; command->options[i].name; i++) {
		const struct xy_option *option = &command->options[i];

		/* getopt says no more than "something is wrong with this option". */
		if (optopt == OPTION_VALUE(i) || (optopt && optopt == option->letter))
			return xy_options_complain(command, "option --%s takes no argument",
						   option->name);
	}
	if (optopt && optopt < HELP_VALUE)
		return xy_options_complain(command, "no option -%c", optopt);

	length = strcspn(typed, "=");
	for (const struct xy_option *option = command->options; option->name; option++)
		if (length > 2 && !strncmp(typed + 2, option->name, length - 2))
			return xy_options_complain(
				command, "option %.*s could mean several; write --%s in full",
				(int)length, typed, option->name);
	return xy_options_complain(command, "no option %.*s", (int)length, typed);
}

static int complain_argument(const struct xy_command *command)
{
	for (size_t i = 0; command->options[i].name; i++)
		if (optopt == OPTION_VALUE(i) || optopt == command->options[i].letter)
			return xy_options_complain(command, "option --%s needs %s",
						   command->options[i].name,
						   command->options[i].argument);
	return XY_CMD_USAGE;
}

static int check_positionals(const struct xy_command *command, int count, char **argv)
{
	if ((unsigned)count < command->positional_minimum)
		return xy_options_complain(command, "arguments are missing: xylem %s %s",
					   command->name, command->arguments);
	if ((unsigned)count > command->positional_maximum)
		return xy_options_complain(command,
					   "'%s' is one argument too many%s; quote what has spaces",
					   argv[command->positional_maximum],
					   *command->arguments ? "" : " (it takes none)");
	return 0;
}

/* Builds getopt's tables. */
static void option_tables(const struct xy_command *command, struct option *longs, char *shorts)
{
	size_t count;

	/* The colon in front makes getopt tell a missing argument from an unknown option. */
	*shorts++ = ':';
	*shorts++ = 'h';
	for (count = 0; command->options[count].name; count++) {
		const struct xy_option *option = &command->options[count];
		int argument = option->kind == XY_OPTION_FLAG ? no_argument
			       : option->optional             ? optional_argument
							      : required_argument;

		longs[count] = (struct option){option->name, argument, NULL, OPTION_VALUE(count)};
		if (!option->letter)
			continue;
		*shorts++ = option->letter;
		for (int i = 0; i < argument; i++)
			*shorts++ = ':';
	}
	longs[count] = (struct option){"help", no_argument, NULL, HELP_VALUE};
	longs[count + 1] = (struct option){0};
	*shorts = 0;
}

static const struct xy_option *option_of(const struct xy_command *command, int value)
{
	for (size_t i = 0; command->options[i].name; i++)
		if (value == OPTION_VALUE(i) || value == command->options[i].letter)
			return &command->options[i];
	return NULL;
}

bool xy_options_flags(const struct xy_command *command, int argc, char **argv, void *values,
		      struct xy_given *given, int *ret_first, int *ret_status)
{
	struct option longs[XY_OPTIONS_MAX + 2];
	char shorts[3 * XY_OPTIONS_MAX + 3];
	int value;

	option_tables(command, longs, shorts);
	opterr = 0;
	/* 0 makes GNU getopt forget an earlier argument vector. */
	optind = 0;
	while ((value = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct xy_option *option;

		switch (value) {
		case 'h':
		case HELP_VALUE:
			xy_options_help(command);
			*ret_status = XY_CMD_OK;
			return false;
		case '?':
			*ret_status = complain_unknown(command, argv);
			return false;
		case ':':
			*ret_status = complain_argument(command);
			return false;
		}
		option = option_of(command, value);
		given->option[option - command->options] = true;
		if (option->given)
			*(bool *)((char *)values + option->given) = true;
		if (!store_typed(command, option, optarg ? optarg : option->fallback, values,
				 ret_status))
			return false;
	}
	*ret_status = check_positionals(command, argc - optind, argv + optind);
	if (*ret_status)
		return false;
	*ret_first = optind;
	return true;
}

bool xy_options_defaults(const struct xy_command *command, void *values,
			 const struct xy_given *given, int *ret_status)
{
	for (size_t i = 0; command->options[i].name; i++) {
		const struct xy_option *option = &command->options[i];

		if (!given->option[i] && option->fallback &&
		    !store_typed(command, option, option->fallback, values, ret_status))
			return false;
	}
	return true;
}

bool xy_options_parse(const struct xy_command *command, int argc, char **argv, void *values,
		      int *ret_first, int *ret_status)
{
	struct xy_given given = {0};

	return xy_options_flags(command, argc, argv, values, &given, ret_first, ret_status) &&
	       xy_options_defaults(command, values, &given, ret_status);
}
