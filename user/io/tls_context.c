/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "io/tls_internal.h"

#define WARN_SECONDS    (7L * 24 * 3600)
#define CHAIN_MAX       8           /* certificates between the peer's and a trusted one */
#define CHAIN_BYTES_MAX (16u << 10) /* of all that a peer shows */

/* What is being made, and what to say if it fails. */
struct making {
	struct xy_tls_context *context;
	enum xy_tls_part part;
	char *why;
};

const char *xy_tls_reason(void)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return reason ? reason : "unknown reason";
}

static int no_good(struct making *making, enum xy_tls_part part, const char *why)
{
	making->part = part;
	snprintf(making->why, XY_TLS_WHY_SIZE, "%s", why);
	ERR_clear_error();
	return -EINVAL;
}

static int no_memory(struct making *making)
{
	no_good(making, XY_TLS_OTHER, "out of memory");
	return -ENOMEM;
}

/* ---- PEM ------------------------------------------------------------------------------------- */

/* Instead of asking at the terminal. */
static int passphrase(char *buffer, int size, int writing, void *context)
{
	bool *asked = context;

	(void)buffer;
	(void)size;
	(void)writing;
	*asked = true;
	return -1;
}

/* The next certificate; NULL at the end, or when it is none. */
static X509 *certificate_read(BIO *bio)
{
	bool asked = false;

	return PEM_read_bio_X509(bio, NULL, passphrase, &asked);
}

/* After certificate_read() has returned NULL: whether nothing more stands there. */
static bool is_end(void)
{
	unsigned long code = ERR_peek_last_error();
	bool end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;

	ERR_clear_error();
	return end;
}

static BIO *pem_open(const struct xy_tls_pem *pem)
{
	return BIO_new_mem_buf(pem->text, (int)pem->length);
}

/* ---- own certificate ------------------------------------------------------------------------- */

static int chain_take(struct making *making, BIO *bio)
{
	SSL_CTX *ssl = making->context->ssl;
	X509 *certificate = certificate_read(bio);

	if (!certificate)
		return no_good(making, XY_TLS_CERTIFICATE,
			       is_end() ? "holds no certificate in PEM"
					: "a certificate is damaged");
	making->context->certificate = certificate;
	if (!SSL_CTX_use_certificate(ssl, certificate))
		return no_good(making, XY_TLS_CERTIFICATE, xy_tls_reason());
	while ((certificate = certificate_read(bio)))
		if (!SSL_CTX_add0_chain_cert(ssl, certificate)) {
			X509_free(certificate);
			return no_good(making, XY_TLS_CERTIFICATE, xy_tls_reason());
		}
	return is_end() ? 0 : no_good(making, XY_TLS_CERTIFICATE, "a certificate is damaged");
}

static int key_take(struct making *making, BIO *bio)
{
	bool asked = false;
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, passphrase, &asked);
	int error = 0;

	if (!key)
		return no_good(making, XY_TLS_KEY,
			       asked ? "the key is encrypted; nobody is there to decrypt it"
				     : "holds no private key in PEM, or a damaged one");
	if (!X509_check_private_key(making->context->certificate, key))
		error = no_good(making, XY_TLS_KEY, "this is not the key of the certificate");
	else if (!SSL_CTX_use_PrivateKey(making->context->ssl, key))
		error = no_good(making, XY_TLS_KEY, xy_tls_reason());
	EVP_PKEY_free(key);
	return error;
}

static int take(struct making *making, const struct xy_tls_pem *pem,
		int (*taker)(struct making *making, BIO *bio))
{
	BIO *bio = pem_open(pem);
	int error = bio ? taker(making, bio) : no_memory(making);

	BIO_free(bio);
	return error;
}

/* ---- whom it trusts -------------------------------------------------------------------------- */

static int anchor_add(struct making *making, X509 *certificate)
{
	struct xy_tls_context *context = making->context;
	void *anchor = realloc(context->anchor, (context->anchors + 1) * sizeof(*context->anchor));

	if (!anchor)
		return no_memory(making);
	context->anchor = anchor;
	if (!X509_STORE_add_cert(SSL_CTX_get_cert_store(context->ssl), certificate) ||
	    !X509_digest(certificate, EVP_sha256(), context->anchor[context->anchors], NULL))
		return no_good(making, XY_TLS_CA, xy_tls_reason());
	context->anchors++;
	return 0;
}

static int anchors_take(struct making *making, BIO *bio)
{
	X509 *certificate;
	int error = 0;

	while (!error && (certificate = certificate_read(bio))) {
		error = anchor_add(making, certificate);
		X509_free(certificate);
	}
	if (error)
		return error;
	if (!is_end())
		return no_good(making, XY_TLS_CA, "a certificate is damaged");
	if (!making->context->anchors)
		return no_good(making, XY_TLS_CA, "holds no certificate in PEM");
	return 0;
}

/* Of a server whom nobody vouches for nothing is asked. */
static int trust_set(struct making *making, const struct xy_tls_options *options)
{
	SSL_CTX *ssl = making->context->ssl;
	bool verifies = options->ca.text || !options->server;

	SSL_CTX_set_verify(ssl, verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_verify_depth(ssl, CHAIN_MAX);
	SSL_CTX_set_max_cert_list(ssl, CHAIN_BYTES_MAX);
	if (options->ca.text)
		return take(making, &options->ca, anchors_take);
	if (verifies && !SSL_CTX_set_default_verify_paths(ssl))
		return no_good(making, XY_TLS_CA, "the system's certificates cannot be read");
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int protocol_set(struct making *making, const struct xy_tls_options *options)
{
	SSL_CTX *ssl = making->context->ssl;

	SSL_CTX_set_options(ssl,
			    SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	/* Memory of those at rest is given back; and a read returns after whatever is no data, or
	 * it might never do. */
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_read_ahead(ssl, 1);
	/* One anchor is enough, also if somebody else vouches for it. */
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN);
	if (!SSL_CTX_set_min_proto_version(ssl,
					   options->allow_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION) ||
	    !SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) ||
	    !SSL_CTX_set_num_tickets(ssl, 0) ||
	    !SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20"))
		return no_good(making, XY_TLS_OTHER, xy_tls_reason());
	return 0;
}

int xy_tls_context_new(const struct xy_tls_options *options, struct xy_tls_context **ret_context,
		       enum xy_tls_part *ret_part, char why[XY_TLS_WHY_SIZE])
{
	struct making making = {.context = calloc(1, sizeof(*making.context)), .why = why};
	struct xy_tls_context *context = making.context;
	int error;

	ERR_clear_error();
	if (context) {
		atomic_init(&context->references, 1);
		context->server = options->server;
		context->ssl =
			SSL_CTX_new(options->server ? TLS_server_method() : TLS_client_method());
	}
	error = context && context->ssl ? protocol_set(&making, options) : no_memory(&making);
	if (!error && options->certificate.text)
		error = take(&making, &options->certificate, chain_take);
	if (!error && options->certificate.text)
		error = take(&making, &options->key, key_take);
	if (!error)
		error = trust_set(&making, options);
	if (!error) {
		*ret_context = context;
		return 0;
	}
	*ret_part = making.part;
	xy_tls_context_put(context);
	return error;
}

struct xy_tls_context *xy_tls_context_get(struct xy_tls_context *context)
{
	atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
	return context;
}

void xy_tls_context_put(struct xy_tls_context *context)
{
	if (!context ||
	    atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) > 1)
		return;
	X509_free(context->certificate);
	SSL_CTX_free(context->ssl);
	free(context->anchor);
	free(context);
}

/* ---- facts ----------------------------------------------------------------------------------- */

static void say_time(char why[XY_TLS_WHY_SIZE], const char *what, const ASN1_TIME *time)
{
	struct tm tm = {0};
	char text[64] = "?";

	if (ASN1_TIME_to_tm(time, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &tm);
	snprintf(why, XY_TLS_WHY_SIZE, "%s %s", what, text);
}

bool xy_tls_context_warns(const struct xy_tls_context *context, char why[XY_TLS_WHY_SIZE])
{
	time_t soon = time(NULL) + WARN_SECONDS;
	const ASN1_TIME *end, *begin;

	if (!context->certificate)
		return false;
	end = X509_get0_notAfter(context->certificate);
	begin = X509_get0_notBefore(context->certificate);
	if (X509_cmp_current_time(end) < 0)
		say_time(why, "the certificate has expired on", end);
	else if (X509_cmp_current_time(begin) > 0)
		say_time(why, "the certificate is not valid before", begin);
	else if (X509_cmp_time(end, &soon) < 0)
		say_time(why, "the certificate expires on", end);
	else
		return false;
	return true;
}

unsigned xy_tls_context_anchors(const struct xy_tls_context *context,
				const uint8_t (**ret_digests)[XY_TLS_DIGEST])
{
	*ret_digests = (const uint8_t(*)[XY_TLS_DIGEST])context->anchor;
	return context->anchors;
}
