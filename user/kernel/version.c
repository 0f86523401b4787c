/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which release the kernel was built from, to warn of known bugs and for nothing else: what it can
 * do is found out by doing it.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/bytes.h"
#include "kernel/doctor.h"

#define OLDEST_MAJOR 5
#define OLDEST_MINOR 10

/* docs/KERNEL.md, Versions. */
static const struct floor {
	unsigned major, minor, patch;
} floors[] = {
	{5, 10, 265}, {5, 15, 216}, {6, 1, 191}, {6, 6, 152}, {6, 12, 114}, {6, 18, 45},
};

/* Digits and nothing else, which sscanf alone would take a sign or blanks for. */
static bool number_take(const char **at, unsigned *ret_number)
{
	int length;

	if (!isdigit((unsigned char)**at) || sscanf(*at, "%9u%n", ret_number, &length) != 1)
		return false;
	*at += length;
	return true;
}

/* The largest C of any A.B.C in the text: Debian and Ubuntu have an ABI's number in uname -r, and
 * the release that they follow elsewhere. */
static unsigned patch_of(const char *text, unsigned major, unsigned minor, unsigned patch)
{
	char start[24];
	size_t length = (size_t)snprintf(start, sizeof(start), "%u.%u.", major, minor);
	unsigned found;

	for (const char *at = text, *number; (at = strstr(at, start)); at += length) {
		number = at + length;
		if ((at == text || (!isdigit((unsigned char)at[-1]) && at[-1] != '.')) &&
		    number_take(&number, &found))
			patch = xy_max(patch, found);
	}
	return patch;
}

void xy_kernel_version(struct xy_kernel_version *ret_version)
{
	struct xy_kernel_version version = {0};
	unsigned major = 0, minor = 0, patch = 0;
	char signature[128] = "";
	struct utsname name;
	const char *at = name.release;
	FILE *file;

	uname(&name);
	snprintf(version.release, sizeof(version.release), "%.71s", name.release);
	/* What is missing is 0. */
	if (number_take(&at, &major) && *at++ == '.' && number_take(&at, &minor) && *at++ == '.')
		number_take(&at, &patch);
	patch = patch_of(name.version, major, minor, patch);
	file = fopen("/proc/version_signature", "re");
	if (file) {
		if (fgets(signature, sizeof(signature), file))
			patch = patch_of(signature, major, minor, patch);
		fclose(file);
	}
	snprintf(version.version, sizeof(version.version), "%u.%u.%u", major, minor, patch);
	version.below = major < OLDEST_MAJOR || (major == OLDEST_MAJOR && minor < OLDEST_MINOR);
	if (version.below)
		snprintf(version.floor, sizeof(version.floor), "%u.%u", OLDEST_MAJOR, OLDEST_MINOR);
	for (size_t i = 0; i < XY_ARRAY_SIZE(floors); i++)
		if (floors[i].major == major && floors[i].minor == minor) {
			snprintf(version.floor, sizeof(version.floor), "%u.%u.%u", major, minor,
				 floors[i].patch);
			version.below = patch < floors[i].patch;
		}
	*ret_version = version;
}
