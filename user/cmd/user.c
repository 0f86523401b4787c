/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The last number stands for "unchanged" in system calls. */
static bool number_of(const char *text, uint32_t *ret_number)
{
	unsigned long number;

	if (!*text || strlen(text) > 10 || strspn(text, "0123456789") != strlen(text))
		return false;
	number = strtoul(text, NULL, 10);
	if (number >= UINT32_MAX)
		return false;
	*ret_number = (uint32_t)number;
	return true;
}

static bool group_find(const char *text, uint32_t *ret_group)
{
	const struct group *group;

	if (number_of(text, ret_group))
		return true;
	group = getgrnam(text);
	if (group)
		*ret_group = group->gr_gid;
	return group != NULL;
}

int xy_user_find(const char *text, uint32_t *ret_user, uint32_t *ret_group, char *why,
		 size_t why_size)
{
	size_t length = strcspn(text, ":");
	const char *colon = text[length] ? text + length : NULL;
	const struct passwd *entry;
	uint32_t user, group;
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)(length < sizeof(name) ? length : 0), text);
	if (number_of(name, &user)) {
		entry = getpwuid(user);
		group = entry ? entry->pw_gid : user;
	} else {
		entry = getpwnam(name);
		if (!entry) {
			snprintf(why, why_size, "there is no user '%.*s'", (int)length, text);
			return -EINVAL;
		}
		user = entry->pw_uid;
		group = entry->pw_gid;
	}
	if (colon && !group_find(colon + 1, &group)) {
		snprintf(why, why_size, "there is no group '%s'", colon + 1);
		return -EINVAL;
	}
	*ret_user = user;
	*ret_group = group;
	return 0;
}
