/* SPDX-License-Identifier: BSD-2-Clause */
/* A change of keys that comes in two records, with something to be sent between them. OpenSSL
 * writes such a message whole, so that both records are made by hand. */
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "common/command.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/secure.h"
#include "common/status.h"

#define SECRET  32 /* bytes, with TLS_AES_128_GCM_SHA256 */
#define KEY     16
#define IV      12
#define TAG     16
#define WAIT_MS 300
#define COST_MS                                                                          \
	20 /* of the processor, meanwhile; a loop that comes round for nothing takes all \
	    */

static char cert_path[128], key_path[128];
static uint8_t secret[SECRET];
static uint64_t records; /* that OpenSSL has written since the handshake */

/* ---- records by hand ------------------------------------------------------------------------- */

static void secret_take(const SSL *ssl, const char *line)
{
	static const char label[] = "CLIENT_TRAFFIC_SECRET_0 ";

	(void)ssl;
	if (strncmp(line, label, strlen(label)) != 0)
		return;
	line = strchr(line + strlen(label), ' ') + 1;
	for (unsigned i = 0; i < SECRET; i++)
		assert_int_equal(sscanf(line + 2 * i, "%2hhx", &secret[i]), 1);
}

static void record_count(int sent, int version, int type, const void *bytes, size_t length,
			 SSL *ssl, void *context)
{
	(void)version;
	(void)bytes;
	(void)length;
	(void)ssl;
	(void)context;
	records += sent && type == SSL3_RT_HEADER;
}

/* HKDF-Expand-Label of RFC 8446, 7.1, without a context. */
static void expand(const char *label, uint8_t *ret, size_t length)
{
	uint8_t info[64] = {0, (uint8_t)length, (uint8_t)(6 + strlen(label))};
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[] = {
		OSSL_PARAM_int("mode", &mode),
		OSSL_PARAM_utf8_string("digest", (char *)"SHA256", 0),
		OSSL_PARAM_octet_string("key", secret, SECRET),
		OSSL_PARAM_octet_string("info", info, 3 + 6 + strlen(label) + 1),
		OSSL_PARAM_END,
	};

	memcpy(info + 3, "tls13 ", 6);
	memcpy(info + 9, label, strlen(label));
	assert_int_equal(EVP_KDF_derive(context, ret, length, params), 1);
	EVP_KDF_CTX_free(context);
	EVP_KDF_free(kdf);
}

/* A part of a message of the handshake, encrypted as the next record. */
static void part_send(struct raw *raw, const uint8_t *part, size_t length)
{
	uint8_t key[KEY], iv[IV], inner[16], record[64] = {0x17, 3, 3};
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	uint64_t number = records++;
	int got;

	expand("key", key, KEY);
	expand("iv", iv, IV);
	for (unsigned i = 0; i < 8; i++)
		iv[IV - 1 - i] ^= (uint8_t)(number >> 8 * i);
	memcpy(inner, part, length);
	inner[length++] = SSL3_RT_HANDSHAKE;
	record[4] = (uint8_t)(length + TAG);
	assert_true(EVP_EncryptInit_ex(context, EVP_aes_128_gcm(), NULL, key, iv));
	assert_true(EVP_EncryptUpdate(context, NULL, &got, record, 5));
	assert_true(EVP_EncryptUpdate(context, record + 5, &got, inner, (int)length));
	assert_true(EVP_EncryptFinal_ex(context, record + 5 + got, &got));
	assert_true(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG, record + 5 + length));
	EVP_CIPHER_CTX_free(context);
	length += 5 + TAG;
	assert_int_equal(send(raw->fd, record, length, MSG_NOSIGNAL), length);
}

/* What it would have written itself goes nowhere, but it has other keys then. */
static void keys_change(struct raw *raw)
{
	BIO *in = SSL_get_rbio(raw->ssl);

	BIO_up_ref(in);
	SSL_set0_wbio(raw->ssl, BIO_new(BIO_s_null()));
	assert_true(SSL_key_update(raw->ssl, SSL_KEY_UPDATE_NOT_REQUESTED));
	assert_int_equal(SSL_do_handshake(raw->ssl), 1);
	SSL_set0_wbio(raw->ssl, in);
}

/* ---- the test -------------------------------------------------------------------------------- */

static struct raw *opened(void)
{
	struct raw *raw = secure_connect(&(struct secure_options){.version = TLS1_3_VERSION});

	assert_true(SSL_set_ciphersuites(raw->ssl, "TLS_AES_128_GCM_SHA256"));
	SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(raw->ssl), secret_take);
	assert_true(secure_try(raw));
	records = 0;
	SSL_set_msg_callback(raw->ssl, record_count);
	raw_hello(raw, RAW_HELLO);
	raw_sync(raw);
	return raw;
}

/* The connection's loop has come round, with all that had come before. */
static void settle(const struct proxy *proxy, const struct raw *raw)
{
	for (unsigned n = 0; n < 3; n++)
		json_decref(status_take_with(proxy, raw));
}

static bool readable(const struct raw *raw)
{
	return poll(&(struct pollfd){.fd = raw->fd, .events = POLLIN}, 1, 0) == 1;
}

static uint64_t cost_ms(const struct proxy *proxy)
{
	struct timespec time;
	clockid_t clock;

	assert_int_equal(clock_getcpuclockid(proxy_pid(proxy), &clock), 0);
	assert_int_equal(clock_gettime(clock, &time), 0);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void test_half_a_change_of_keys_lets_it_wait(void **state)
{
	static const uint8_t message[] = {SSL3_MT_KEY_UPDATE, 0, 0, 1, 0};
	struct proxy *proxy = *state;
	struct raw *raw = opened(), *publisher = raw_open(proxy);
	uint64_t topic, before;

	raw_subscribe_to(raw, "pieces");
	topic = raw_declare(publisher, "pieces");
	raw_expect_silence(raw); /* it has been told of the topic */
	part_send(raw, message, 4);
	settle(proxy, raw);
	raw_publish(publisher, topic, 1, "between");
	raw_expect_silence(publisher);
	settle(proxy, raw);
	/* Room for it there is; but nothing that can be done. */
	before = cost_ms(proxy);
	poll(NULL, 0, WAIT_MS);
	assert_in_range(cost_ms(proxy) - before, 0, COST_MS);
	part_send(raw, message + 4, 1);
	settle(proxy, raw);
	assert_true(readable(raw)); /* and needs no heartbeat for it */
	keys_change(raw);
	raw_expect_text(raw, "between");
	raw_expect_silence(raw);
	raw_publish(publisher, topic, 2, "behind");
	raw_expect_text(raw, "behind");
}

int main(void)
{
	const char *arguments[] = {"--listen",  SECURE_LISTEN, "--tls-cert", cert_path,
				   "--tls-key", key_path,      NULL};
	const struct CMUnitTest tests[] = {
		proxy_test(test_half_a_change_of_keys_lets_it_wait),
	};
	struct cert *cert = cert_make(&(struct cert_options){.name = "proxy"});
	int failed;

	directory_make();
	snprintf(cert_path, sizeof(cert_path), "%s", in_directory("cert.pem"));
	snprintf(key_path, sizeof(key_path), "%s", in_directory("key.pem"));
	cert_write(cert_path, 0644, cert->pem);
	cert_write(key_path, 0600, cert->key_pem);
	failed = proxy_run_both(tests, arguments);
	cert_free(cert);
	directory_remove();
	return failed;
}
