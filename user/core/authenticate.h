/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who a client is: by what it has shown, and what the kernel or a certificate says of it.
 */
#ifndef XY_CORE_AUTHENTICATE_H
#define XY_CORE_AUTHENTICATE_H

#include "io/tls.h"
#include "proto/access.h"

/* How it has come, and what it said. */
struct xy_arrival {
	int fd;
	enum xy_reach reach;
	const struct xy_tls *tls; /* NULL: without */
	const char *token;        /* "": none */
};

/* 0: *ret_identity is the caller's; -ENOENT: not let in, with a sentence in *ret_why (static);
 * -ENOMEM. Read section. */
int xy_authenticate(const struct xy_access *access, const struct xy_arrival *arrival,
		    const struct xy_identity **ret_identity, const char **ret_why);

#endif
