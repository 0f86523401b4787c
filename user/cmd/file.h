/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that say what a program may do, read as a whole, and only if nobody else can have written
 * or read them.
 */
#ifndef XY_CMD_FILE_H
#define XY_CMD_FILE_H

#include <stddef.h>

#include "cmd/complaints.h"

enum xy_file_kind {
	XY_FILE_RULES,  /* others may not write to it */
	XY_FILE_SECRET, /* it belongs to root or to this user, others may not read it either, nor
			   its group write to it */
};

/* Its text, with a zero behind it, to be freed; NULL and one complaint. Waits for no writer of a
 * FIFO. */
char *xy_file_read(const char *path, enum xy_file_kind kind, size_t maximum, size_t *ret_length,
		   struct xy_complaints *complaints);

#endif
