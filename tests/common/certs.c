/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/certs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define DAY (24L * 3600)

static char *bio_text(BIO *bio)
{
	char *data, *text;
	long length = BIO_get_mem_data(bio, &data);

	text = strndup(data, (size_t)length);
	assert_non_null(text);
	BIO_free(bio);
	return text;
}

static void extension_add(X509 *certificate, const X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&context, (X509 *)issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(extension);
	assert_true(X509_add_ext(certificate, extension, -1));
	X509_EXTENSION_free(extension);
}

static void extensions_add(X509 *certificate, const struct cert_options *options,
			   const X509 *issuer)
{
	extension_add(certificate, issuer, NID_basic_constraints,
		      options->is_ca ? "critical,CA:TRUE" : "CA:FALSE");
	extension_add(certificate, issuer, NID_subject_key_identifier, "hash");
	if (options->alternatives)
		extension_add(certificate, issuer, NID_subject_alt_name, options->alternatives);
	if (options->usage)
		extension_add(certificate, issuer, NID_ext_key_usage, options->usage);
}

struct cert *cert_make(const struct cert_options *options)
{
	static long serial = 1;
	struct cert *cert = calloc(1, sizeof(*cert));
	const struct cert *issuer = options->issuer ? options->issuer : cert;
	bool usual = !options->from && !options->until;
	X509_NAME *name;
	BIO *bio;

	assert_non_null(cert);
	cert->key = options->rsa_bits ? EVP_RSA_gen(options->rsa_bits) : EVP_EC_gen("P-256");
	cert->certificate = X509_new();
	assert_non_null(cert->key);
	assert_non_null(cert->certificate);
	X509_set_version(cert->certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert->certificate), serial++);
	X509_gmtime_adj(X509_getm_notBefore(cert->certificate), usual ? -DAY : options->from);
	X509_gmtime_adj(X509_getm_notAfter(cert->certificate), usual ? 10 * DAY : options->until);
	X509_set_pubkey(cert->certificate, cert->key);
	name = X509_get_subject_name(cert->certificate);
	X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)"tests", -1, -1, 0);
	if (options->name)
		assert_true(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
						       (const uint8_t *)options->name, -1, -1, 0));
	X509_set_issuer_name(cert->certificate, X509_get_subject_name(issuer->certificate));
	extensions_add(cert->certificate, options, issuer->certificate);
	assert_true(X509_sign(cert->certificate, issuer->key, EVP_sha256()));
	bio = BIO_new(BIO_s_mem());
	assert_true(PEM_write_bio_X509(bio, cert->certificate));
	cert->pem = bio_text(bio);
	bio = BIO_new(BIO_s_mem());
	assert_true(PEM_write_bio_PrivateKey(bio, cert->key, NULL, NULL, 0, NULL, NULL));
	cert->key_pem = bio_text(bio);
	return cert;
}

void cert_free(struct cert *cert)
{
	if (!cert)
		return;
	X509_free(cert->certificate);
	EVP_PKEY_free(cert->key);
	free(cert->pem);
	free(cert->key_pem);
	free(cert);
}

void cert_write(const char *path, unsigned mode, const char *text)
{
	char beside[4096];
	FILE *file;

	snprintf(beside, sizeof(beside), "%s.new", path);
	file = fopen(beside, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(beside, mode), 0);
	assert_int_equal(rename(beside, path), 0);
}
