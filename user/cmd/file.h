/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files of a configuration.
 */
#ifndef XY_CMD_FILE_H
#define XY_CMD_FILE_H

#include "base/file.h"
#include "cmd/complaints.h"

/* As xy_file_load(): its text, to be freed; NULL and one complaint. */
char *xy_file_read(const char *path, enum xy_file_kind kind, size_t maximum, size_t *ret_length,
		   struct xy_complaints *complaints);

#endif
