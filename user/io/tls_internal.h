/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files tls*.c share; nobody else includes this, nor anything of OpenSSL.
 */
#ifndef XY_IO_TLS_INTERNAL_H
#define XY_IO_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "io/tls.h"
#include "io/tls_messages.h"

struct xy_tls_context {
	_Atomic(unsigned) references;
	bool server;
	SSL_CTX *ssl;
	X509 *certificate; /* own; NULL: none */
	uint8_t (*anchor)[XY_TLS_DIGEST];
	unsigned anchors;
};

struct xy_tls {
	SSL *ssl;
	int fd;
	int error;      /* that ended it, 0 = none … */
	int send_error; /* … or sending only: what has come can still be received */
	unsigned long reason;
	long verified;     /* X509_V_… */
	uint32_t received; /* bytes, of the handshake */
	struct xy_tls_messages messages;
	uint32_t dataless;  /* records without data that no data has paid for */
	uint32_t paid;      /* bytes of data, for the next of them */
	bool done;          /* the handshake is */
	bool ended, closed; /* close_notify has come, was sent */
	bool dry, eof;      /* what the last read of the socket found */
	bool full;          /* a write found no room */
	bool pending;       /* see the header */
	int socket_error;   /* of the last read or write; -errno */
	uint8_t *unsent;    /* NULL: all was sent */
	size_t at, length;  /* of what is unsent */
};

/* Of OpenSSL's queue of errors, which it empties: the text of the first; static. */
const char *xy_tls_reason(void);

#endif
