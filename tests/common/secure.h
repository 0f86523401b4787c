/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Raw clients that speak TLS, by OpenSSL itself: what they see and send owes nothing to io/tls.h.
 * Every function fails the running cmocka test when it cannot do what it says. One thread.
 */
#ifndef TEST_SECURE_H
#define TEST_SECURE_H

#include <openssl/ssl.h>

#include "common/certs.h"
#include "common/raw.h"

#define SECURE_PORT   7443
#define SECURE_LISTEN "tls:127.0.0.1:7443" /* the test's network namespace is its own */

/* $XY_TEST_TLS: raw_connect() makes clients that speak TLS, to a listener that every proxy of the
 * fixture has then. So that tests which know nothing of TLS can be run over it. */
bool secure_wanted(void);
/* More options for serve, but for the listener; NULL: not wanted. */
const char *const *secure_arguments(void);

/* What is not said is the usual: TLS 1.3 or 1.2, no certificate. */
struct secure_options {
	const struct cert *ca; /* that the proxy's must lead to; NULL: anything will do */
	const struct cert *own;
	int version;   /* TLS1_2_VERSION …: this one only */
	uint16_t port; /* 0: SECURE_PORT */
};

/* TCP, and a client that has sent nothing yet. */
struct raw *secure_connect(const struct secure_options *options);
/* The handshake as far as it goes: true when this side has finished. What OpenSSL says otherwise is
 * in secure_why(). */
bool secure_try(struct raw *raw);
const char *secure_why(void);
/* Both, which must succeed. */
struct raw *secure_reach(const struct secure_options *options);
/* These, HELLO, SYNC; never a lane. */
struct raw *secure_open(const struct secure_options *options);
/* Whether this is what the proxy has shown it. */
bool secure_shows(const struct raw *raw, const struct cert *cert);

#endif
