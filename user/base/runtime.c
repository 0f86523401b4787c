/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int xy_instance_check(const char *instance)
{
	size_t length = strlen(instance);

	if (length == 0 || length > XY_INSTANCE_MAX || instance[0] == '.')
		return -EINVAL;
	if (strspn(instance, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
	    length)
		return -EINVAL;
	return 0;
}

int xy_runtime_directory(char *buffer, size_t size)
{
	struct stat status;

	snprintf(buffer, size, "/run/xylem");
	if ((mkdir(buffer, 0755) == 0 || errno == EEXIST) && access(buffer, W_OK) == 0)
		return 0;
	snprintf(buffer, size, "/tmp/xylem-%u", (unsigned)geteuid());
	if (mkdir(buffer, 0700) != 0 && errno != EEXIST)
		return -errno;
	if (lstat(buffer, &status) != 0)
		return -errno;
	if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || status.st_mode & 077)
		return -EACCES;
	return 0;
}
