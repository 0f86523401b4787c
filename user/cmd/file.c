/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whoever may write to it may give himself any right. */
static bool check(int fd, const char *path, enum xy_file_kind kind,
		  struct xy_complaints *complaints)
{
	struct stat status;

	if (fstat(fd, &status))
		xy_complain(complaints, "%s: %s", path, strerror(errno));
	else if (!S_ISREG(status.st_mode))
		xy_complain(complaints, "%s: not a regular file", path);
	else if (kind == XY_FILE_RULES && status.st_mode & S_IWOTH)
		xy_complain(complaints, "%s: everybody may write to it (mode %03o); chmod o-w it",
			    path, status.st_mode & 0777);
	else if (kind == XY_FILE_SECRET && status.st_mode & (S_IRWXO | S_IWGRP))
		xy_complain(complaints,
			    "%s: others than its owner may read or write it (mode %03o); chmod "
			    "600 it, or 640 for a group that may read it",
			    path, status.st_mode & 0777);
	else if (kind == XY_FILE_SECRET && status.st_uid && status.st_uid != geteuid())
		xy_complain(complaints, "%s: belongs to user %u, not to root or to this one", path,
			    (unsigned)status.st_uid);
	else
		return true;
	return false;
}

/* All of it, or NULL with errno. */
static char *read_all(int fd, size_t maximum, size_t *ret_length)
{
	char *text = malloc(maximum + 1);
	size_t length = 0;
	ssize_t got = 1;

	while (text && got > 0 && length <= maximum) {
		got = read(fd, text + length, maximum + 1 - length);
		length += got > 0 ? (size_t)got : 0;
	}
	if (!text || got < 0 || length > maximum) {
		if (text && got >= 0)
			errno = EFBIG;
		free(text);
		return NULL;
	}
	text[length] = '\0';
	*ret_length = length;
	return text;
}

char *xy_file_read(const char *path, enum xy_file_kind kind, size_t maximum, size_t *ret_length,
		   struct xy_complaints *complaints)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text;

	if (fd < 0) {
		xy_complain(complaints, "%s: %s", path, strerror(errno));
		return NULL;
	}
	if (!check(fd, path, kind, complaints)) {
		close(fd);
		return NULL;
	}
	text = read_all(fd, maximum, ret_length);
	if (!text)
		xy_complain(complaints, "%s: %s", path, strerror(errno));
	close(fd);
	return text;
}
