/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Certificates for tests, made when they are needed: none lies in the tree, where it would expire.
 * Every function fails the running cmocka test when it cannot do what it says. One thread.
 */
#ifndef TEST_CERTS_H
#define TEST_CERTS_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

struct cert {
	X509 *certificate;
	EVP_PKEY *key;
	char *pem, *key_pem; /* texts */
};

/* What is not said is the usual. */
struct cert_options {
	const char *name;         /* commonName; NULL: none */
	const char *alternatives; /* subjectAltName as openssl.cnf has it: "DNS:a.b,URI:c:d" */
	const char *usage;        /* extendedKeyUsage: "serverAuth" */
	bool is_ca;
	long from, until;  /* seconds from now; both 0: since yesterday, for ten days */
	unsigned rsa_bits; /* of a key of this kind; 0: P-256, which is quicker, and smaller */
	const struct cert *issuer; /* NULL: itself */
};

struct cert *cert_make(const struct cert_options *options);
void cert_free(struct cert *cert); /* NULL is fine */
/* Writes a file of this mode, replacing one that is there as a whole (rename(2)). */
void cert_write(const char *path, unsigned mode, const char *text);

#endif
