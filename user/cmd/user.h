/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XY_CMD_USER_H
#define XY_CMD_USER_H

#include <stddef.h>
#include <stdint.h>

/* "NAME", "UID", "NAME:GROUP" …; without a group that user's own, or of a number that nobody has
 * the same number. -EINVAL with a sentence in why. Asks the system's user database. */
int xy_user_find(const char *text, uint32_t *ret_user, uint32_t *ret_group, char *why,
		 size_t why_size);

#endif
