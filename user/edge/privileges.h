/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * User, groups and capabilities of the process, and what nobody may do to it. While there is one
 * thread. 0 or -errno.
 */
#ifndef XY_EDGE_PRIVILEGES_H
#define XY_EDGE_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

/* For good, without other groups. The capabilities that it had can still be kept, if
 * xy_privileges_drop_but() comes next. */
int xy_privileges_user(uid_t user, gid_t group);
/* All capabilities, but for CAP_BPF, where it is there, if `suffices` says no (not 0) without it.
 * -EPERM: even with it. Nothing that is executed gets more, and no other process of the same user
 * may look into this one. */
int xy_privileges_drop_but(int (*suffices)(void *context), void *context, bool *ret_bpf);
int xy_privileges_drop(void); /* all */

#endif
