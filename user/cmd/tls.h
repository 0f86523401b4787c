/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS of the proxy's listeners, from the files that its options name.
 */
#ifndef XY_CMD_TLS_H
#define XY_CMD_TLS_H

#include <stdbool.h>

#include "cmd/complaints.h"
#include "io/tls.h"

/* As in the options of the same names; NULL: not given. */
struct xy_tls_files {
	const char *cert, *key, *ca, *min;
};

/* The caller's context; NULL when nothing of it is given, or when anything was complained about.
 * A certificate that is out of its time is logged. */
struct xy_tls_context *xy_tls_make(const struct xy_tls_files *files,
				   struct xy_complaints *complaints);

#endif
