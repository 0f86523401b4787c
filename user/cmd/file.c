/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/file.h"

char *xy_file_read(const char *path, enum xy_file_kind kind, size_t maximum, size_t *ret_length,
		   struct xy_complaints *complaints)
{
	char why[XY_FILE_WHY_SIZE], *text;

	if (xy_file_load(path, kind, maximum, &text, ret_length, why) == 0)
		return text;
	xy_complain(complaints, "%s: %s", path, why);
	return NULL;
}
