/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that say what a program may do or believe, read as a whole, and only if nobody else can
 * have written or read what he must not.
 */
#ifndef XY_BASE_FILE_H
#define XY_BASE_FILE_H

#include <stddef.h>

#define XY_FILE_WHY_SIZE 192

enum xy_file_kind {
	XY_FILE_RULES,  /* others may not write to it */
	XY_FILE_SECRET, /* it belongs to root or to this user, others may not read it either, nor
			   its group write to it */
};

/* The text of a regular file of at most `maximum` bytes, with a zero behind it, to be freed.
 * -EPERM: the kind forbids it; -EINVAL: no regular file; -EFBIG; what open(2) and read(2) say. Then
 * `why` has a sentence, without the path. Waits for no writer of a FIFO. Any thread. */
int xy_file_load(const char *path, enum xy_file_kind kind, size_t maximum, char **ret_text,
		 size_t *ret_length, char why[XY_FILE_WHY_SIZE]);

#endif
