/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernel/pod.h"

#include <string.h>

#define HEX              "0123456789abcdef"
#define CONTAINER_DIGITS 64
#define SHORTEST_ID      12

static bool has_suffix(const char *text, size_t length, const char *suffix)
{
	size_t size = strlen(suffix);

	return length > size && !memcmp(text + length - size, suffix, size);
}

static bool is_separator(char c)
{
	return c == '-' || c == '_';
}

/* Of a UID that is just so long. */
static bool uid_is(const char *text, size_t length)
{
	bool dashed = length == XY_POD_UID_SIZE - 1;

	if (!dashed && length != 32)
		return false;
	for (size_t i = 0; i < length; i++) {
		bool between = dashed && (i == 8 || i == 13 || i == 18 || i == 23);

		if (between ? !is_separator(text[i]) : !text[i] || !strchr(HEX, text[i]))
			return false;
	}
	return true;
}

bool xy_pod_uid_valid(const char *uid)
{
	return uid_is(uid, strlen(uid));
}

bool xy_pod_uid_equal(const char *uid, const char *other)
{
	for (; *uid && *other; uid++, other++)
		if (*uid != *other && !(is_separator(*uid) && is_separator(*other)))
			return false;
	return *uid == *other;
}

bool xy_pod_of(const char *name, size_t length, char ret_uid[XY_POD_UID_SIZE])
{
	const char *uid;
	size_t size;

	/* "pod" + UID, or PARENT + "-pod" + UID + ".slice". */
	if (has_suffix(name, length, ".slice"))
		length -= strlen(".slice");
	for (size = 32; size < XY_POD_UID_SIZE; size += 4) {
		if (length < size + 3)
			return false;
		uid = name + length - size;
		if (memcmp(uid - 3, "pod", 3) || (length > size + 3 && uid[-4] != '-') ||
		    !uid_is(uid, size))
			continue;
		memcpy(ret_uid, uid, size);
		ret_uid[size] = '\0';
		for (char *at = ret_uid; *at; at++)
			*at = *at == '_' ? '-' : *at;
		return true;
	}
	return false;
}

const char *xy_container_id(const char *text)
{
	const char *scheme = strstr(text, "://"), *id = scheme ? scheme + 3 : text;
	size_t length = strlen(id);

	if (length < SHORTEST_ID || length > CONTAINER_DIGITS || strspn(id, HEX) != length)
		return NULL;
	return id;
}

bool xy_container_is(const char *name, const char *id)
{
	size_t length = strlen(name);
	const char *digits;

	if (has_suffix(name, length, ".scope"))
		length -= strlen(".scope");
	if (length < CONTAINER_DIGITS)
		return false;
	digits = name + length - CONTAINER_DIGITS;
	if (strspn(digits, HEX) < CONTAINER_DIGITS || strncmp(digits, id, strlen(id)))
		return false;
	/* What watches over a container has its id, too. */
	return digits == name || (digits[-1] == '-' && !strstr(name, "-conmon-"));
}
