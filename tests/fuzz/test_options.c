/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arguments of commands: any text is taken or complained about, and what is taken lies within what
 * its option promises. Addresses: any text is an address or is refused with a sentence, and an
 * address survives being written and read again; where one can be listened on, and by which name a
 * TLS client expects it, agree with that. Users and groups, against a second account; lists of
 * sizes and of CPUs, which are the same after writing and reading them.
 *
 * Input: lines, an argument each; the first one is an address, a user and a list.
 */
#include "fuzz/fuzz.h"

#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <math.h>
#include <netdb.h>
#include <pwd.h>
#include <sched.h>

#include "client/secure.h"
#include "cmd/bench.h"
#include "cmd/commands.h"
#include "cmd/user.h"
#include "core/acceptor.h"
#include "io/net.h"

#define ARGUMENTS_MAX 24
#define SIZE_LEAST    ((uint64_t)32 << 20)

struct values {
	bool flag, number_given;
	const char *text, *choice;
	struct xy_texts texts;
	uint64_t number, large, duration, size;
	double rate;
};

#define OPTION(name_, kind_, member) \
	.name = name_, .kind = kind_, .help = "an option", .offset = offsetof(struct values, member)

static const struct xy_option options[] = {
	{OPTION("flag", XY_OPTION_FLAG, flag), .letter = 'f'},
	{OPTION("text", XY_OPTION_TEXT, text), .letter = 't', .argument = "TEXT"},
	{OPTION("texts", XY_OPTION_TEXTS, texts), .argument = "TEXT"},
	{OPTION("number", XY_OPTION_NUMBER, number), .letter = 'n', .optional = true,
	 .argument = "N", .fallback = "7", .given = offsetof(struct values, number_given),
	 .minimum = 5, .maximum = 1000},
	{OPTION("large", XY_OPTION_NUMBER, large), .argument = "N"},
	{OPTION("duration", XY_OPTION_DURATION, duration), .letter = 'd', .argument = "TIME",
	 .fallback = "1.5s"},
	{OPTION("size", XY_OPTION_SIZE, size), .letter = 's', .argument = "SIZE", .fallback = "64M",
	 .minimum = SIZE_LEAST},
	{OPTION("rate", XY_OPTION_RATE, rate), .letter = 'r', .argument = "RATE"},
	{OPTION("choice", XY_OPTION_CHOICE, choice), .letter = 'c', .argument = "on|off|auto",
	 .fallback = "auto"},
	{0},
};

static const struct xy_command command = {
	.name = "fuzz",
	.arguments = "ARGUMENT…",
	.summary = "Is fuzzed.",
	.options = options,
	.positional_minimum = 1,
	.positional_maximum = 3,
};

/* No resolver: names are unknown. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **ret)
{
	static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	struct addrinfo numeric = *hints;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	numeric.ai_flags |= AI_NUMERICHOST;
	return real(node, service, &numeric, ret);
}

/* One user, whose number is not his group's, and one group. */
static struct passwd alice = {.pw_name = "alice", .pw_uid = 1000, .pw_gid = 1001};
static struct group wheel = {.gr_name = "wheel", .gr_gid = 10};

struct passwd *getpwnam(const char *name)
{
	return strcmp(name, alice.pw_name) == 0 ? &alice : NULL;
}

struct passwd *getpwuid(uid_t uid)
{
	return uid == alice.pw_uid ? &alice : NULL;
}

struct group *getgrnam(const char *name)
{
	return strcmp(name, wheel.gr_name) == 0 ? &wheel : NULL;
}

static void check_values(const struct values *values)
{
	fuzz_check(values->number >= 5 && values->number <= 1000);
	fuzz_check(values->number_given || values->number == 7);
	fuzz_check(values->duration >= 1 && values->duration <= INT32_MAX);
	fuzz_check(values->size >= SIZE_LEAST && values->size <= (uint64_t)1 << 53);
	fuzz_check(values->rate >= 0 && isfinite(values->rate));
	fuzz_check(strcmp(values->choice, "on") == 0 || strcmp(values->choice, "off") == 0 ||
		   strcmp(values->choice, "auto") == 0);
	fuzz_check(values->texts.count <= XY_TEXTS_MAX);
	fuzz_check(values->text == NULL || *values->text != '\0');
}

static void check_address(const char *text)
{
	char why[160] = "", written[XY_ADDRESS_TEXT_SIZE], again[XY_ADDRESS_TEXT_SIZE];
	struct xy_address address[4], reread;
	int count = xy_address_parse(text, address, 4, why, sizeof(why));

	if (count < 0) {
		fuzz_check(why[0] != '\0' && memchr(why, '\0', sizeof(why)) != NULL);
		fuzz_check(xy_address_parse(text, address, 4, NULL, 0) == count);
		return;
	}
	fuzz_check(count >= 1 && count <= 4);
	for (int i = 0; i < count; i++) {
		fuzz_check(xy_address_text(&address[i], written, sizeof(written)) == written);
		fuzz_check(xy_address_parse(written, &reread, 1, NULL, 0) == 1);
		xy_address_text(&reread, again, sizeof(again));
		fuzz_check(strcmp(written, again) == 0);
	}
}

/* ---- listening and connecting ---------------------------------------------------------------- */

/* What the proxy takes for --listen has the form of an address, and only that. */
static void check_listen(const char *text)
{
	const struct xy_option *listen = xy_command_serve.options;
	const char *secured = xy_acceptor_tls(text);
	char why[XY_OPTION_WHY_SIZE] = "";
	struct xy_address address;
	bool parsed = xy_address_parse(secured != NULL ? secured : text, &address, 1, NULL, 0) == 1;

	while (strcmp(listen->name, "listen") != 0)
		listen++;
	if (listen->check(text, why) != 0) {
		fuzz_check(why[0] != '\0');
		fuzz_check(!parsed || (secured != NULL && address.any.sa_family == AF_UNIX));
	} else {
		fuzz_check(!parsed || secured == NULL || address.any.sa_family != AF_UNIX);
	}
}

/* The name that a certificate must have is the host of the address. */
static void check_secure(const char *text)
{
	const struct xy_client_options options = {.size = sizeof(options)};
	char *server, why[XY_SECURE_WHY_SIZE] = "", form[2][NI_MAXHOST + 16];
	struct xy_secure secure;
	struct xy_address address;
	int port = 0;

	fuzz_check(asprintf(&server, "tls:%s", text) > 0);
	if (xy_secure_take(server, &options, &secure, why) != 0) {
		fuzz_check(why[0] != '\0');
	} else {
		if (xy_address_parse(text, &address, 1, NULL, 0) == 1) {
			port = atoi(strrchr(text, ':') + 1);
			snprintf(form[0], sizeof(form[0]), "%s:%s", secure.name,
				 strrchr(text, ':') + 1);
			snprintf(form[1], sizeof(form[1]), "[%s]:%s", secure.name,
				 strrchr(text, ':') + 1);
			fuzz_check(strcmp(text, form[0]) == 0 || strcmp(text, form[1]) == 0);
			fuzz_check(address.any.sa_family != AF_UNIX && port <= UINT16_MAX);
		}
		xy_secure_free(&secure);
	}
	free(server);
}

/* ---- users ----------------------------------------------------------------------------------- */

/* Of a number, a name that is known, or neither. */
static bool expected_id(const char *text, const char *known, uint32_t id, uint32_t *ret_id)
{
	unsigned long long number = 0;
	size_t digits = 0;

	for (; text[digits] >= '0' && text[digits] <= '9' && digits < 11; digits++)
		number = 10 * number + (unsigned)(text[digits] - '0');
	if (digits > 0 && digits < 11 && text[digits] == '\0' && number < UINT32_MAX)
		*ret_id = (uint32_t)number;
	else if (strcmp(text, known) == 0)
		*ret_id = id;
	else
		return false;
	return true;
}

static void check_user(const char *text)
{
	uint32_t user, group, expected_user, expected_group;
	char why[XY_OPTION_WHY_SIZE] = "", *name = strdup(text), *colon = strchr(name, ':');
	bool expected;

	if (colon != NULL)
		*colon = '\0';
	expected = expected_id(name, alice.pw_name, alice.pw_uid, &expected_user);
	if (expected) {
		expected_group = expected_user == alice.pw_uid ? alice.pw_gid : expected_user;
		expected = colon == NULL ||
			   expected_id(colon + 1, wheel.gr_name, wheel.gr_gid, &expected_group);
	}
	fuzz_check((xy_user_find(text, &user, &group, why, sizeof(why)) == 0) == expected);
	if (expected)
		fuzz_check(user == expected_user && group == expected_group);
	else
		fuzz_check(why[0] != '\0');
	free(name);
}

/* ---- commands -------------------------------------------------------------------------------- */

static void be_silent(bool silent)
{
	static FILE *nowhere, *out, *err;

	if (nowhere == NULL) {
		nowhere = fopen("/dev/null", "w");
		out = stdout;
		err = stderr;
	}
	fuzz_check(nowhere != NULL);
	stdout = silent ? nowhere : out;
	stderr = silent ? nowhere : err;
}

static bool plan_silently(struct xy_bench *bench, const char *sizes, const char *cpus)
{
	char *works[] = {NULL};
	int status;

	*bench = (struct xy_bench){.transport = &xy_bench_client,
				   .send = "batch",
				   .sizes_text = sizes,
				   .cpus_text = cpus,
				   .producers = 1,
				   .consumers = 1};
	be_silent(true);
	status = xy_bench_plan(bench, &xy_command_bench, works);
	be_silent(false);
	fuzz_check(status == XY_CMD_OK || status == XY_CMD_USAGE);
	return status == XY_CMD_OK;
}

static void check_sizes(const char *text)
{
	char list[XY_BENCH_SIZES_MAX * 16], *end = list;
	struct xy_bench bench, again;

	if (!plan_silently(&bench, text, NULL))
		return;
	fuzz_check(bench.sizes >= 1 && bench.sizes <= XY_BENCH_SIZES_MAX);
	for (unsigned s = 0; s < bench.sizes; s++) {
		fuzz_check(bench.size[s] <= XY_BENCH_SIZE_MAX);
		end += sprintf(end, "%s%u", s > 0 ? "," : "", bench.size[s]);
	}
	fuzz_check(plan_silently(&again, list, NULL));
	fuzz_check(again.sizes == bench.sizes);
	fuzz_check(memcmp(again.size, bench.size, sizeof(bench.size)) == 0);
}

static void check_cpus(const char *text)
{
	static char list[XY_BENCH_CPUS_MAX * 8];
	char *end = list;
	struct xy_bench bench, again;

	if (!plan_silently(&bench, "64", text))
		return;
	fuzz_check(bench.cpus >= 1 && bench.cpus <= XY_BENCH_CPUS_MAX);
	for (unsigned c = 0; c < bench.cpus; c++)
		end += sprintf(end, "%s%u", c > 0 ? "," : "", bench.cpu[c]);
	fuzz_check(plan_silently(&again, "64", list));
	fuzz_check(again.cpus == bench.cpus);
	fuzz_check(memcmp(again.cpu, bench.cpu, sizeof(bench.cpu)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	char *argument[ARGUMENTS_MAX + 1] = {"fuzz"}, *kept[ARGUMENTS_MAX];
	struct values values = {0};
	int count = 1, first = 0, status = -1;
	bool taken;
	char *first_line = fuzz_text(fuzz_take_line(&input));

	check_address(first_line);
	check_listen(first_line);
	check_secure(first_line);
	check_user(first_line);
	check_sizes(first_line);
	check_cpus(first_line);
	free(first_line);
	while (input.size > 0 && count < ARGUMENTS_MAX)
		argument[count++] = fuzz_text(fuzz_take_line(&input));
	/* getopt puts them in another order. */
	memcpy(kept, argument, sizeof(kept));
	be_silent(true);
	taken = xy_options_parse(&command, count, argument, &values, &first, &status);
	be_silent(false);
	if (taken) {
		fuzz_check(first >= 1 && count - first >= 1 && count - first <= 3);
		check_values(&values);
	} else {
		fuzz_check(status == XY_CMD_OK || status == XY_CMD_USAGE);
	}
	for (int i = 1; i < count; i++)
		free(kept[i]);
	return 0;
}
