/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arguments of commands: any text is taken or complained about, and what is taken lies within what
 * its option promises. Addresses: any text is an address or is refused with a sentence, and an
 * address survives being written and read again.
 *
 * Input: lines, an argument each; the first one is an address.
 */
#include "fuzz/fuzz.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <netdb.h>

#include "cmd/options.h"
#include "io/net.h"

#define ARGUMENTS_MAX 24

struct values {
	bool flag, number_given;
	const char *text, *choice;
	struct xy_texts texts;
	uint64_t number, large, duration;
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

static void check_values(const struct values *values)
{
	fuzz_check(values->number >= 5 && values->number <= 1000);
	fuzz_check(values->number_given || values->number == 7);
	fuzz_check(values->duration >= 1 && values->duration <= INT32_MAX);
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

/* Help and complaints are looked at elsewhere. */
static bool parse_silently(int count, char **argument, struct values *values, int *ret_first,
			   int *ret_status)
{
	static FILE *nowhere;
	FILE *out = stdout, *err = stderr;
	bool taken;

	if (nowhere == NULL)
		nowhere = fopen("/dev/null", "w");
	fuzz_check(nowhere != NULL);
	stdout = stderr = nowhere;
	taken = xy_options_parse(&command, count, argument, values, ret_first, ret_status);
	stdout = out;
	stderr = err;
	return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	char *argument[ARGUMENTS_MAX + 1] = {"fuzz"}, *kept[ARGUMENTS_MAX];
	struct values values = {0};
	int count = 1, first = 0, status = -1;
	char *address = fuzz_text(fuzz_take_line(&input));

	check_address(address);
	free(address);
	while (input.size > 0 && count < ARGUMENTS_MAX)
		argument[count++] = fuzz_text(fuzz_take_line(&input));
	/* getopt puts them in another order. */
	memcpy(kept, argument, sizeof(kept));
	if (parse_silently(count, argument, &values, &first, &status)) {
		fuzz_check(first >= 1 && count - first >= 1 && count - first <= 3);
		check_values(&values);
	} else {
		fuzz_check(status == XY_CMD_OK || status == XY_CMD_USAGE);
	}
	for (int i = 1; i < count; i++)
		free(kept[i]);
	return 0;
}
