/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a running proxy takes of its machine. Every function fails the running cmocka test when it
 * cannot look.
 */
#ifndef TEST_FOOTPRINT_H
#define TEST_FOOTPRINT_H

#include "common/proxy.h"

/* Bytes of anonymous memory that is in use: pages of files come and go by themselves. */
uint64_t footprint_memory(const struct proxy *proxy);
/* How many files there are of a pattern with one %s, the instance's name. */
unsigned footprint_files(const char *pattern, const char *instance);
/* How many cgroups below the sandbox's have this in their name. */
unsigned footprint_cgroups(const char *part);

#endif
