/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a kernel says of its release: the version is A.B.C of the name that `uname -r` shows, with
 * the largest C that the rest tells of the same A.B, and it is compared as numbers.
 *
 * Input: lines. The release; the version; the rest is /proc/version_signature.
 */
#include <dlfcn.h>
#include <sys/utsname.h>

#include "fuzz/fuzz.h"

#include "kernel/doctor.h"

static struct utsname told;
static struct fuzz_input signature;

/* In place of the machine's. */
int uname(struct utsname *ret_name)
{
	*ret_name = told;
	return 0;
}

FILE *fopen(const char *path, const char *mode)
{
	static FILE *(*real)(const char *, const char *);

	if (strcmp(path, "/proc/version_signature") == 0)
		return signature.size > 0 ? fmemopen((void *)signature.data, signature.size, "r")
					  : NULL;
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "fopen");
	return real(path, mode);
}

static void tell(struct fuzz_input line, char *to, size_t size)
{
	size_t length = line.size < size - 1 ? line.size : size - 1;

	memcpy(to, line.data, length);
	to[length] = '\0';
}

/* Of nine digits at most. */
static bool number_of(const char **at, unsigned *ret_number)
{
	const char *start = *at;

	for (*ret_number = 0; **at >= '0' && **at <= '9' && *at < start + 9; (*at)++)
		*ret_number = 10 * *ret_number + (unsigned)(**at - '0');
	return *at > start;
}

static bool triple_of(const char *at, unsigned ret_triple[3])
{
	return number_of(&at, &ret_triple[0]) && *at++ == '.' && number_of(&at, &ret_triple[1]) &&
	       *at++ == '.' && number_of(&at, &ret_triple[2]);
}

/* The largest patch of the same series. */
static unsigned patch_of(const char *text, const unsigned triple[3], unsigned patch)
{
	char series[32];
	unsigned other[3];

	snprintf(series, sizeof(series), "%u.%u.", triple[0], triple[1]);
	for (const char *at = text; *at != '\0'; at++) {
		bool inside = at > text && (at[-1] == '.' || (at[-1] >= '0' && at[-1] <= '9'));

		if (!inside && triple_of(at, other) && other[2] > patch &&
		    strncmp(at, series, strlen(series)) == 0)
			patch = other[2];
	}
	return patch;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	unsigned triple[3], floor[3], found[3];
	char text[128] = "", expected[24];
	struct xy_kernel_version version;
	int parts;

	tell(fuzz_take_line(&input), told.release, sizeof(told.release));
	tell(fuzz_take_line(&input), told.version, sizeof(told.version));
	signature = input;
	xy_kernel_version(&version);
	fuzz_check(strlen(version.release) < sizeof(version.release));
	fuzz_check(strncmp(version.release, told.release, strlen(version.release)) == 0);
	fuzz_check(triple_of(version.version, found));

	/* A name that is one: only of it something is promised. */
	if (!triple_of(told.release, triple))
		return 0;
	triple[2] = patch_of(told.version, triple, triple[2]);
	tell(fuzz_take_line(&input), text, sizeof(text));
	triple[2] = patch_of(text, triple, triple[2]);
	snprintf(expected, sizeof(expected), "%u.%u.%u", triple[0], triple[1], triple[2]);
	fuzz_check(strcmp(version.version, expected) == 0);

	parts = sscanf(version.floor, "%u.%u.%u", &floor[0], &floor[1], &floor[2]);
	if (parts == 3)
		fuzz_check(floor[0] == triple[0] && floor[1] == triple[1] &&
			   version.below == (triple[2] < floor[2]));
	else if (parts == 2)
		fuzz_check(version.below && (triple[0] < floor[0] ||
					     (triple[0] == floor[0] && triple[1] < floor[1])));
	else
		fuzz_check(!version.below);
	return 0;
}
