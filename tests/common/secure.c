/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/secure.h"

#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char why[256];

/* ---- tests that know nothing of it ----------------------------------------------------------- */

static char directory[] = "/tmp/xylem-tls-XXXXXX", cert_path[64], key_path[64];
static pid_t maker;

static void files_remove(void)
{
	if (getpid() != maker)
		return;
	unlink(cert_path);
	unlink(key_path);
	rmdir(directory);
}

bool secure_wanted(void)
{
	return getenv("XY_TEST_TLS") != NULL;
}

const char *const *secure_arguments(void)
{
	static const char *const arguments[] = {"--tls-cert", cert_path, "--tls-key", key_path,
						NULL};
	struct cert *cert;

	if (!secure_wanted() || maker != 0)
		return secure_wanted() ? arguments : NULL;
	maker = getpid();
	assert_non_null(mkdtemp(directory));
	snprintf(cert_path, sizeof(cert_path), "%s/cert", directory);
	snprintf(key_path, sizeof(key_path), "%s/key", directory);
	cert = cert_make(&(struct cert_options){.name = "proxy"});
	cert_write(cert_path, 0644, cert->pem);
	cert_write(key_path, 0600, cert->key_pem);
	cert_free(cert);
	atexit(files_remove);
	return arguments;
}

/* ---- clients --------------------------------------------------------------------------------- */

static SSL *ssl_new(const struct secure_options *options)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl;

	/* OpenSSL writes to sockets whose other side may have gone. */
	signal(SIGPIPE, SIG_IGN);
	assert_non_null(context);
	if (options->ca != NULL) {
		X509_STORE_add_cert(SSL_CTX_get_cert_store(context), options->ca->certificate);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	}
	if (options->own != NULL) {
		assert_true(SSL_CTX_use_certificate(context, options->own->certificate));
		assert_true(SSL_CTX_use_PrivateKey(context, options->own->key));
	}
	if (options->version != 0) {
		SSL_CTX_set_min_proto_version(context, options->version);
		SSL_CTX_set_max_proto_version(context, options->version);
		/* Older ones are there for those who ask. */
		if (options->version < TLS1_2_VERSION)
			SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0");
	}
	SSL_CTX_set_mode(context,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	ssl = SSL_new(context);
	assert_non_null(ssl);
	SSL_CTX_free(context);
	return ssl;
}

struct raw *secure_connect(const struct secure_options *options)
{
	struct raw *raw = raw_connect_port(options->port != 0 ? options->port : SECURE_PORT);

	raw->ssl = ssl_new(options);
	assert_true(SSL_set_fd(raw->ssl, raw->fd));
	SSL_set_connect_state(raw->ssl);
	return raw;
}

const char *secure_why(void)
{
	return why;
}

bool secure_try(struct raw *raw)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	int r;

	while ((r = SSL_do_handshake(raw->ssl)) != 1) {
		int error = SSL_get_error(raw->ssl, r);
		struct pollfd pollfd = {.fd = raw->fd,
					.events = error == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN};

		if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
			const char *reason = ERR_reason_error_string(ERR_peek_error());

			snprintf(why, sizeof(why), "%s", reason != NULL ? reason : "hung up");
			ERR_clear_error();
			return false;
		}
		assert_true(test_now_ms() < deadline);
		poll(&pollfd, 1, 100);
	}
	return true;
}

struct raw *secure_reach(const struct secure_options *options)
{
	struct raw *raw = secure_connect(options);

	if (!secure_try(raw))
		fail_msg("handshake: %s", secure_why());
	return raw;
}

struct raw *secure_open(const struct secure_options *options)
{
	struct raw *raw = secure_reach(options);

	raw_hello(raw, RAW_HELLO);
	raw_sync(raw);
	assert_false(raw->lane);
	return raw;
}

bool secure_shows(const struct raw *raw, const struct cert *cert)
{
	return X509_cmp(SSL_get0_peer_certificate(raw->ssl), cert->certificate) == 0;
}
