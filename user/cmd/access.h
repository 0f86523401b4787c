/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may do what, from the files that say it: tokens from theirs, users and rules from the member
 * "access" of the configuration; and whose certificates are believed. docs/CONFIGURATION.md has the
 * formats.
 *
 * What is said of a file with tokens never quotes it.
 */
#ifndef XY_CMD_ACCESS_H
#define XY_CMD_ACCESS_H

#include "cmd/config.h"
#include "io/tls.h"
#include "proto/access.h"

/* What may be NULL has not been given. NULL when memory is short or anything was complained
 * about. */
struct xy_access *xy_access_make(const struct xy_config *config, const struct xy_tls_context *tls,
				 const char *token_file, const char *anonymous,
				 struct xy_complaints *complaints);

/* tokens.c: adds those of a file. *ret_named: some of them have names. */
void xy_access_read_tokens(struct xy_access *access, const char *path, bool *ret_named,
			   struct xy_complaints *complaints);

#endif
