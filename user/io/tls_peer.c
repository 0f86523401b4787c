/* SPDX-License-Identifier: BSD-2-Clause */
/* Who the other side is, and what is spoken with it. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "io/tls_internal.h"

/* 0, -EINVAL. */
static int name_take(const uint8_t *text, int length, char name[XY_TLS_NAME_MAX + 1])
{
	if (length <= 0 || length > XY_TLS_NAME_MAX || memchr(text, 0, (size_t)length))
		return -EINVAL;
	memcpy(name, text, (size_t)length);
	name[length] = '\0';
	return 0;
}

/* -ENOENT: there is no such. */
static int alternative_name(const X509 *certificate, char name[XY_TLS_NAME_MAX + 1])
{
	int critical, error = -ENOENT;
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, NULL);

	if (!names)
		return critical == -1 ? -ENOENT : -EINVAL; /* twice, or damaged */
	for (int i = 0; error == -ENOENT && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *one = sk_GENERAL_NAME_value(names, i);

		if (one->type == GEN_DNS || one->type == GEN_URI || one->type == GEN_EMAIL)
			error = name_take(ASN1_STRING_get0_data(one->d.ia5),
					  ASN1_STRING_length(one->d.ia5), name);
	}
	GENERAL_NAMES_free(names);
	return error;
}

static int common_name(const X509 *certificate, char name[XY_TLS_NAME_MAX + 1])
{
	const X509_NAME *subject = X509_get_subject_name(certificate);
	int at = -1, next, length, error;
	unsigned char *text;

	while ((next = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0)
		at = next;
	if (at < 0)
		return -EINVAL;
	length = ASN1_STRING_to_UTF8(&text,
				     X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	if (length < 0)
		return -EINVAL;
	error = name_take(text, length, name);
	OPENSSL_free(text);
	return error;
}

int xy_tls_peer(const struct xy_tls *tls, struct xy_tls_peer *ret_peer)
{
	const X509 *certificate = SSL_get0_peer_certificate(tls->ssl);
	const STACK_OF(X509) *chain = SSL_get0_verified_chain(tls->ssl);
	struct xy_tls_peer peer;
	int error;

	if (!certificate || !chain || SSL_get_verify_result(tls->ssl) != X509_V_OK)
		return -ENOENT;
	error = alternative_name(certificate, peer.name);
	if (error == -ENOENT)
		error = common_name(certificate, peer.name);
	if (!error && !X509_digest(sk_X509_value(chain, sk_X509_num(chain) - 1), EVP_sha256(),
				   peer.anchor, NULL))
		error = -ENOMEM;
	ERR_clear_error();
	if (!error)
		*ret_peer = peer;
	return error;
}

const char *xy_tls_version(const struct xy_tls *tls)
{
	return SSL_get_version(tls->ssl);
}

const char *xy_tls_cipher(const struct xy_tls *tls)
{
	return SSL_get_cipher_name(tls->ssl);
}
