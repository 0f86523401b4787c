/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whoever may write to it may give himself any right. */
static int check(int fd, enum xy_file_kind kind, char why[XY_FILE_WHY_SIZE])
{
	struct stat status;
	unsigned mode;

	if (fstat(fd, &status))
		return -errno;
	mode = status.st_mode & 0777;
	if (!S_ISREG(status.st_mode)) {
		snprintf(why, XY_FILE_WHY_SIZE, "not a regular file");
		return -EINVAL;
	}
	if (kind == XY_FILE_RULES && mode & S_IWOTH)
		snprintf(why, XY_FILE_WHY_SIZE,
			 "everybody may write to it (mode %03o); chmod o-w it", mode);
	else if (kind == XY_FILE_SECRET && mode & (S_IRWXO | S_IWGRP))
		snprintf(why, XY_FILE_WHY_SIZE,
			 "others than its owner may read or write it (mode %03o); chmod 600 it, or "
			 "640 for a group that may read it",
			 mode);
	else if (kind == XY_FILE_SECRET && status.st_uid && status.st_uid != geteuid())
		snprintf(why, XY_FILE_WHY_SIZE, "belongs to user %u, not to root or to this one",
			 (unsigned)status.st_uid);
	else
		return 0;
	return -EPERM;
}

static int read_all(int fd, size_t maximum, char **ret_text, size_t *ret_length)
{
	char *text = malloc(maximum + 1);
	size_t length = 0;
	ssize_t got = 1;
	int error;

	while (text && got > 0 && length <= maximum) {
		got = read(fd, text + length, maximum + 1 - length);
		length += got > 0 ? (size_t)got : 0;
	}
	if (!text || got < 0 || length > maximum) {
		error = !text ? -ENOMEM : got < 0 ? -errno : -EFBIG;
		free(text);
		return error;
	}
	text[length] = '\0';
	*ret_text = text;
	*ret_length = length;
	return 0;
}

int xy_file_load(const char *path, enum xy_file_kind kind, size_t maximum, char **ret_text,
		 size_t *ret_length, char why[XY_FILE_WHY_SIZE])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int error = fd < 0 ? -errno : 0;

	why[0] = '\0';
	if (!error)
		error = check(fd, kind, why);
	if (!error)
		error = read_all(fd, maximum, ret_text, ret_length);
	if (error && !*why)
		snprintf(why, XY_FILE_WHY_SIZE, "%s", strerror(-error));
	if (fd >= 0)
		close(fd);
	return error;
}
