/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file for parsers that are given a path: its text is an input, it lies in memory, and nobody but
 * its owner may read it. One in a fuzzer.
 */
#ifndef TEST_FUZZ_FILE_H
#define TEST_FUZZ_FILE_H

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

/* Its path, with this text in it from now on. */
static inline const char *fuzz_file(const void *text, size_t size)
{
	static char path[32];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		fuzz_check(fd >= 0 && fchmod(fd, 0600) == 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	fuzz_check(ftruncate(fd, 0) == 0);
	fuzz_check(size == 0 || pwrite(fd, text, size, 0) == (ssize_t)size);
	return path;
}

#endif
