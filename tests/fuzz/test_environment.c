/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The environment: what is taken of XYLEM_SERVE_… lies within what the options promise and is what
 * the same text is on the command line, and nothing else is taken there; what is wrong is
 * complained about, and by the variable's name. What a service manager says is meant for this
 * process or is nothing.
 *
 * Input: variables, one a line; "@" behind "=" stands for this process.
 */
#include <fcntl.h>
#include <unistd.h>

#include "fuzz/record.h"

#include "base/service.h"
#include "cmd/sources.h"

#define VARIABLES_MAX 24
#define PREFIX        "XYLEM_SERVE_"

/* ---- options --------------------------------------------------------------------------------- */

static void hear(struct xy_complaints *complaints, const char *text)
{
	(void)complaints;
	fuzz_check(strncmp(text, PREFIX, strlen(PREFIX)) == 0);
	fuzz_check(strlen(text) >= XY_COMPLAINT_SIZE - 1 ||
		   strstr(text, " in the environment: ") != NULL);
}

static void variable_of(const struct xy_option *option, char variable[64])
{
	snprintf(variable, 64, PREFIX "%s", option->name);
	for (char *at = variable; *at != '\0'; at++)
		*at = *at == '-' ? '_' : *at >= 'a' && *at <= 'z' ? (char)(*at - 'a' + 'A') : *at;
}

static void be_silent(bool silent)
{
	static FILE *nowhere, *err;

	if (nowhere == NULL) {
		nowhere = fopen("/dev/null", "w");
		err = stderr;
	}
	fuzz_check(nowhere != NULL);
	stderr = silent ? nowhere : err;
}

/* Whether it is taken on the command line, and as what. */
static bool typed(const struct xy_option *option, const char *text, struct record *record)
{
	char *name, *argument[] = {"serve", NULL, (char *)text, NULL};
	struct xy_given given = {0};
	int first, status;
	bool taken;

	fuzz_check(asprintf(&name, "--%s", option->name) > 0);
	argument[1] = name;
	be_silent(true);
	taken = xy_options_flags(&xy_command_serve, 3, argument, record, &given, &first, &status);
	be_silent(false);
	free(name);
	return taken;
}

/* An option that has one word as its value. */
static bool is_plain(const struct xy_option *option)
{
	return option->kind != XY_OPTION_FLAG && option->kind != XY_OPTION_TEXTS;
}

/* One option by itself. */
static void check_option(const struct xy_option *option, size_t index)
{
	struct xy_complaints complaints = {.say = hear};
	struct record record = {0}, other = {0};
	struct xy_given given = {0}, none = {0};
	char variable[64], *entry, *alone[2] = {0}, *words = NULL, **all = environ;
	const char *text;
	bool taken;

	variable_of(option, variable);
	text = getenv(variable);
	if (text == NULL)
		return;
	fuzz_check(asprintf(&entry, "%s=%s", variable, text) > 0);
	alone[0] = entry;
	environ = alone;
	xy_options_environment(&xy_command_serve, &record, &given, &words, &complaints);
	environ = all;
	taken = complaints.count == 0;
	fuzz_check(given.option[index] == (option->origin != XY_FROM_COMMAND_LINE));
	given.option[index] = false;
	fuzz_check(memcmp(&given, &none, sizeof(given)) == 0);
	if (option->origin == XY_FROM_COMMAND_LINE)
		fuzz_check(!taken);
	else if (is_plain(option))
		fuzz_check(typed(option, text, &other) == taken);
	if (taken)
		check_value(&record, option);
	if (taken && is_plain(option))
		fuzz_check(is_same(&record, &other, option));
	free(words);
	free(entry);
}

static void check_options(void)
{
	const struct xy_option *options = xy_command_serve.options;
	struct xy_complaints complaints = {.say = hear};
	struct record record = {0}, untouched = {0};
	struct xy_given given = {0}, all;
	unsigned count;
	char *words;

	xy_options_environment(&xy_command_serve, &record, &given, &words, &complaints);
	count = complaints.count;
	if (count == 0)
		for (unsigned o = 0; options[o].name != NULL; o++)
			if (given.option[o])
				check_value(&record, &options[o]);
	free(words);
	/* What the command line has said wins, and silences no complaint. */
	memset(&all, true, sizeof(all));
	record = untouched;
	xy_options_environment(&xy_command_serve, &record, &all, &words, &complaints);
	fuzz_check(memcmp(&record, &untouched, sizeof(record)) == 0);
	fuzz_check(complaints.count == 2 * count);
	free(words);
	for (unsigned o = 0; options[o].name != NULL; o++)
		check_option(&options[o], o);
}

/* ---- a service manager ----------------------------------------------------------------------- */

/* Of digits alone, up to what 64 bits hold. */
static bool number_of(const char *variable, uint64_t *ret_number)
{
	const char *text = getenv(variable);
	unsigned __int128 number = 0;

	if (text == NULL || *text == '\0')
		return false;
	for (; *text >= '0' && *text <= '9' && number <= UINT64_MAX; text++)
		number = 10 * number + (unsigned)(*text - '0');
	*ret_number = (uint64_t)number;
	return *text == '\0' && number <= UINT64_MAX;
}

static bool is_ours(const char *variable)
{
	uint64_t pid;

	return number_of(variable, &pid) && pid == (uint64_t)getpid();
}

static void check_service(void)
{
	struct xy_service service;
	uint64_t count = 0, us = 0;
	unsigned sockets = xy_service_sockets();
	const char *path = getenv("NOTIFY_SOCKET");
	bool watched;

	if (!is_ours("LISTEN_PID") || !number_of("LISTEN_FDS", &count))
		count = 0;
	fuzz_check(sockets == 0 || sockets == count);
	for (unsigned s = 0; s < sockets; s++)
		fuzz_check(fcntl(XY_SERVICE_SOCKETS + (int)s, F_GETFD) == FD_CLOEXEC);

	xy_service_open(&service);
	fuzz_check((service.fd >= 0) == (path != NULL && (*path == '/' || *path == '@') &&
					 strlen(path) < sizeof(service.manager.sun_path)));
	watched = service.fd >= 0 && number_of("WATCHDOG_USEC", &us) &&
		  (getenv("WATCHDOG_PID") == NULL || is_ours("WATCHDOG_PID"));
	fuzz_check(service.watchdog_ms == (watched ? us / 1000 : 0));
	xy_service_close(&service);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static char *variable_take(struct fuzz_input line)
{
	char *text = fuzz_text(line), *value = strchr(text, '='), *mine;

	if (value == NULL || strcmp(value, "=@") != 0)
		return text;
	*value = '\0';
	fuzz_check(asprintf(&mine, "%s=%d", text, (int)getpid()) > 0);
	free(text);
	return mine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	char *variables[VARIABLES_MAX + 1] = {0}, **before = environ;

	for (unsigned v = 0; v < VARIABLES_MAX && input.size > 0; v++)
		variables[v] = variable_take(fuzz_take_line(&input));
	environ = variables;
	check_options();
	check_service();
	environ = before;
	for (unsigned v = 0; v < VARIABLES_MAX; v++)
		free(variables[v]);
	return 0;
}
