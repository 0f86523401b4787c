/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where an instance keeps its admin socket and its lock: /run/xylem, or for users who may not write
 * there /tmp/xylem-UID, which must be theirs and closed to others. Any thread.
 */
#ifndef XY_BASE_RUNTIME_H
#define XY_BASE_RUNTIME_H

#include <stddef.h>

#define XY_INSTANCE_MAX 64 /* bytes of a name */

/* 1 … 64 of letters, digits, '-', '_' and '.', not starting with '.': it becomes a file name. */
int xy_instance_check(const char *instance); /* -EINVAL */

/* The directory, made when absent. -EACCES: it is somebody else's; other -errno of mkdir. */
int xy_runtime_directory(char *buffer, size_t size);

#endif
