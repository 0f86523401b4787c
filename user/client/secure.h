/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/*
 * What a client needs to be sure of its server: whom it trusts, whom it expects, what it shows.
 *
 * Any thread, no state. Errors: -errno, and then `why` has a sentence for people, which names files
 * and quotes nothing of them.
 */
#ifndef XY_CLIENT_SECURE_H
#define XY_CLIENT_SECURE_H

#include <stdbool.h>

#include <xylem/client.h>

#include "io/tls.h"

#define XY_SECURE_WHY_SIZE 512

struct xy_secure {
	char *ca, *cert, *key; /* files; NULL = not given */
	char *name;            /* that the server's certificate must bear */
};

bool xy_secure_wanted(const char *server);         /* tls: stands before it */
const char *xy_secure_address(const char *server); /* what stands behind that */

/* What options and environment say about this server; all of it NULL when that is not tls:.
 * -EINVAL: they do not go together; -ENOMEM. */
int xy_secure_take(const char *server, const struct xy_client_options *options,
		   struct xy_secure *ret_secure, char why[XY_SECURE_WHY_SIZE]);
void xy_secure_free(struct xy_secure *secure);

/* Whether the two above will do for these options: -errno and why, or 0. */
int xy_secure_check(const char *server, const struct xy_client_options *options,
		    char why[XY_SECURE_WHY_SIZE]);

/* Reads the files. What is wrong with them: -EINVAL, and of xy_file_load(). -ENOMEM. */
int xy_secure_context(const struct xy_secure *secure, struct xy_tls_context **ret_context,
		      char why[XY_SECURE_WHY_SIZE]);

/* What it means that a call of `tls` has failed. */
void xy_secure_explain(const struct xy_secure *secure, const struct xy_tls *tls,
		       char why[XY_SECURE_WHY_SIZE]);

#endif
