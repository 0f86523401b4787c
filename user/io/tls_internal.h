/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What tls.c and tls_context.c share; nobody else includes this, nor anything of OpenSSL.
 */
#ifndef XY_IO_TLS_INTERNAL_H
#define XY_IO_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "io/tls.h"

struct xy_tls_context {
	_Atomic(unsigned) references;
	bool server;
	SSL_CTX *ssl;
	X509 *certificate; /* own; NULL: none */
	uint8_t (*anchor)[XY_TLS_DIGEST];
	unsigned anchors;
};

/* Of OpenSSL's queue of errors, which it empties: the text of the first; static. */
const char *xy_tls_reason(void);

#endif
