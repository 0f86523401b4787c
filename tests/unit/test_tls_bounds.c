/* SPDX-License-Identifier: BSD-2-Clause */
/* What a peer can make TLS cost, and what none of ours would do: by OpenSSL alone, or by hand. */
#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "unit/tls_fixture.h"

/* ---- memory that OpenSSL has ----------------------------------------------------------------- */

#define OVERHEAD 16 /* about what malloc() adds */

struct block {
	_Alignas(16) size_t size;
	size_t *charged;
};

/* To whom what is allocated now is charged. */
static size_t nobody, *charged = &nobody;

static void *counted_malloc(size_t size, const char *file, int line)
{
	struct block *block = malloc(sizeof(*block) + size);

	(void)file;
	(void)line;
	if (!block)
		return NULL;
	*block = (struct block){.size = size + OVERHEAD, .charged = charged};
	*charged += block->size;
	return block + 1;
}

static void counted_free(void *memory, const char *file, int line)
{
	struct block *block;

	(void)file;
	(void)line;
	if (!memory)
		return;
	block = (struct block *)memory - 1;
	*block->charged -= block->size;
	free(block);
}

static void *counted_realloc(void *memory, size_t size, const char *file, int line)
{
	void *other = counted_malloc(size, file, line);

	if (other && memory) {
		size_t old = ((struct block *)memory - 1)->size - OVERHEAD;

		memcpy(other, memory, old < size ? old : size);
		counted_free(memory, file, line);
	}
	return other;
}

/* Bytes that the server has allocated for a client with these certificates. */
static size_t server_memory(const char *chain, const struct cert *own)
{
	struct xy_tls_options server = options_of(true, server_cert, ca);
	struct xy_tls_options client = options_of(false, own, ca);
	struct iovec iov = {"x", 1};
	static size_t bytes; /* what it counted may be freed at the end only */
	size_t before = bytes;
	int result;
	char byte;

	if (chain)
		client.certificate = pem(chain);
	ends_make(&server, &client, "proxy.test");
	xy_tls_free(ends.tls[SERVER]);
	charged = &bytes;
	ends.tls[SERVER] = xy_tls_new(ends.context[SERVER], ends.fd[SERVER], NULL);
	do {
		charged = &nobody;
		xy_tls_handshake(ends.tls[CLIENT]);
		charged = &bytes;
		result = xy_tls_handshake(ends.tls[SERVER]);
	} while (result == -EAGAIN);
	charged = &nobody;
	shake_well();
	say(CLIENT, "x");
	charged = &bytes;
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], &byte, 1), 1);
	assert_int_equal(xy_tls_send(ends.tls[SERVER], &iov, 1), 1);
	charged = &nobody;
	return bytes - before;
}

static void expect_room(const char *chain, const struct cert *own)
{
	size_t bytes = server_memory(chain, own);

	assert_in_range(bytes, 1, xy_tls_memory(ends.tls[SERVER]));
	test_teardown(NULL);
}

static void test_memory_is_as_the_header_says(void **state)
{
	char *chain = calloc(1, 1 << 16);

	(void)state;
	/* The first one pays for what all use. */
	server_memory(NULL, client_cert);
	test_teardown(NULL);
	assert_in_range(server_memory(NULL, NULL), 1, XY_TLS_MEMORY);
	test_teardown(NULL);
	expect_room(NULL, NULL);
	expect_room(NULL, client_cert);
	for (unsigned n = 0; n < 17; n++)
		strcat(chain, client_cert->pem);
	expect_room(chain, client_cert);
	free(chain);
}

/* ---- what no peer of ours would do ----------------------------------------------------------- */

/* A client of OpenSSL's own instead of ours, on the same socket. */
static SSL *foreign_client(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);

	SSL_CTX_free(context);
	assert_non_null(ssl);
	assert_true(SSL_set_fd(ssl, ends.fd[CLIENT]));
	SSL_set_connect_state(ssl);
	for (unsigned n = 0; n < 10; n++) {
		SSL_do_handshake(ssl);
		xy_tls_handshake(ends.tls[SERVER]);
	}
	assert_true(SSL_is_init_finished(ssl));
	return ssl;
}

static void test_keys_may_change(void **state)
{
	char buffer[16];
	SSL *ssl;

	(void)state;
	ends_usual();
	ssl = foreign_client();
	for (unsigned n = 0; n < 20; n++) {
		assert_true(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED));
		assert_int_equal(SSL_write(ssl, "new", 3), 3);
		assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 3);
		say(SERVER, "too");
		assert_int_equal(SSL_read(ssl, buffer, sizeof(buffer)), 3);
	}
	SSL_free(ssl);
}

static void test_records_without_data_do_not_go_on_for_ever(void **state)
{
	char buffer[16];
	ssize_t got;
	SSL *ssl;

	(void)state;
	ends_usual();
	ssl = foreign_client();
	for (unsigned n = 0; n < 100; n++) {
		assert_true(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED));
		assert_int_equal(SSL_do_handshake(ssl), 1);
		got = xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer));
		if (got != -EAGAIN)
			break;
	}
	assert_int_equal(got, -EPROTO);
	expect_why(SERVER, "no data");
	SSL_free(ssl);
}

/* A byte of data beside each does not help; as much data as others send does. */
static void test_records_without_data_are_paid_with_data(void **state)
{
	static char buffer[4096];
	ssize_t got = 0;
	SSL *ssl;

	(void)state;
	ends_usual();
	ssl = foreign_client();
	for (unsigned n = 0; n < 400; n++) {
		if (n % 4 == 0)
			assert_true(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED));
		assert_int_equal(SSL_write(ssl, buffer, sizeof(buffer)), sizeof(buffer));
		assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)),
				 sizeof(buffer));
	}
	for (unsigned n = 0; n < 100 && got >= 0; n++) {
		assert_true(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED));
		assert_int_equal(SSL_write(ssl, "a", 1), 1);
		got = xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer));
	}
	assert_int_equal(got, -EPROTO);
	SSL_free(ssl);
}

/* ---- messages in pieces ---------------------------------------------------------------------- */

#define LONGEST (512 + 22) /* bytes of a record of foreign_server() */

/* Makes the session's ticket longer than a record of foreign_server(). */
static int ticket_lengthen(SSL *ssl, void *context)
{
	static const uint8_t filling[3000];

	(void)context;
	return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), filling, sizeof(filling));
}

/* A server of OpenSSL's own instead of ours, with records of 512 bytes and a ticket of several.
 * What it writes behind its handshake lies in *ret_out. */
static SSL *foreign_server(BIO **ret_out)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	BIO *out = BIO_new(BIO_s_mem());
	SSL *ssl;

	assert_true(SSL_CTX_use_certificate(context, server_cert->certificate));
	assert_true(SSL_CTX_use_PrivateKey(context, server_cert->key));
	assert_true(SSL_CTX_set_max_send_fragment(context, 512));
	SSL_CTX_set_session_ticket_cb(context, ticket_lengthen, NULL, NULL);
	SSL_CTX_set_num_tickets(context, 0);
	ssl = SSL_new(context);
	SSL_CTX_free(context);
	assert_non_null(ssl);
	assert_true(SSL_set_fd(ssl, ends.fd[SERVER]));
	SSL_set_accept_state(ssl);
	for (unsigned n = 0; n < 10; n++) {
		xy_tls_handshake(ends.tls[CLIENT]);
		SSL_do_handshake(ssl);
	}
	assert_true(SSL_is_init_finished(ssl));
	SSL_set0_wbio(ssl, out);
	*ret_out = out;
	return ssl;
}

/* The next record of what the server has written. */
static void record_pass(BIO *out)
{
	uint8_t record[XY_TLS_RECORD];
	int length;

	assert_int_equal(BIO_read(out, record, 5), 5);
	length = record[3] << 8 | record[4];
	assert_int_equal(BIO_read(out, record + 5, length), length);
	assert_int_equal(send(ends.fd[SERVER], record, (size_t)length + 5, 0), length + 5);
}

/* A client sends when it has half of a ticket, as servers with small records may write it. */
static void test_a_ticket_in_pieces_lets_a_client_send_later(void **state)
{
	struct iovec iov = {"word", 4};
	char buffer[16];
	unsigned records = 0;
	BIO *out;
	SSL *ssl;

	(void)state;
	ends_usual();
	ssl = foreign_server(&out);
	assert_int_equal(xy_tls_recv(ends.tls[CLIENT], buffer, sizeof(buffer)), -EAGAIN);
	assert_true(SSL_new_session_ticket(ssl));
	assert_int_equal(SSL_write(ssl, "behind", 6), 6);
	assert_in_range(BIO_ctrl_pending(out), 3000, 10000);
	for (; BIO_ctrl_pending(out) > 2 * LONGEST; records++) {
		record_pass(out);
		assert_int_equal(xy_tls_recv(ends.tls[CLIENT], buffer, sizeof(buffer)), -EAGAIN);
		assert_int_equal(xy_tls_send(ends.tls[CLIENT], &iov, 1), -EAGAIN);
		assert_true(xy_tls_stalled(ends.tls[CLIENT]));
	}
	assert_in_range(records, 3, 100);
	while (BIO_ctrl_pending(out))
		record_pass(out);
	assert_int_equal(xy_tls_send(ends.tls[CLIENT], &iov, 1), -EAGAIN);
	assert_int_equal(xy_tls_recv(ends.tls[CLIENT], buffer, sizeof(buffer)), 6);
	assert_false(xy_tls_stalled(ends.tls[CLIENT]));
	assert_int_equal(xy_tls_send(ends.tls[CLIENT], &iov, 1), 4);
	assert_int_equal(SSL_read(ssl, buffer, sizeof(buffer)), 4);
	SSL_free(ssl);
}

static void announce(const uint8_t *bytes, size_t length, int expected)
{
	static size_t mine;

	test_teardown(NULL);
	ends_usual();
	charged = &mine;
	assert_int_equal(send(ends.fd[CLIENT], bytes, length, 0), length);
	assert_int_equal(xy_tls_handshake(ends.tls[SERVER]), expected);
	charged = &nobody;
	assert_in_range(mine, 0, XY_TLS_MEMORY + 2 * XY_TLS_RECORD);
}

/* OpenSSL makes room for all that a message says it has, before it comes. */
static void test_a_message_that_says_it_is_long_gets_no_memory(void **state)
{
	static const uint8_t hello[] = {0x16, 3, 1, 0, 6, 1, 2, 1, 0x44, 3, 3};
	/* The same, a byte in each record. */
	static const uint8_t split[] = {0x16, 3,    1,    0, 1, 1, 0x16, 3,    1, 0, 1,
					2,    0x16, 3,    1, 0, 1, 1,    0x16, 3, 1, 0,
					1,    0x44, 0x16, 3, 1, 0, 2,    3,    3};
	/* As long as there may be. */
	static const uint8_t longest[] = {0x16, 3, 1, 0, 6, 1, 0, 0x40, 0, 3, 3};

	(void)state;
	announce(longest, sizeof(longest), -EAGAIN);
	announce(hello, sizeof(hello), -EFBIG);
	announce(split, sizeof(split), -EFBIG);
	expect_why(SERVER, "too long");
}

/* A ClientHello as long as there may be, a byte in each record. */
static void test_a_handshake_has_an_end(void **state)
{
	static const uint8_t begin[] = {1, 0, 0x40, 0};
	uint8_t records[512][6];
	size_t sent = 0;
	int result;

	(void)state;
	ends_usual();
	do {
		for (size_t r = 0; r < 512; r++)
			memcpy(records[r],
			       (uint8_t[]){0x16, 3, 1, 0, 1, sent + r < 4 ? begin[r] : 0}, 6);
		assert_in_range(sent, 0, 2 * XY_TLS_HANDSHAKE);
		assert_int_equal(send(ends.fd[CLIENT], records, sizeof(records), 0),
				 sizeof(records));
		sent += sizeof(records);
		result = xy_tls_handshake(ends.tls[SERVER]);
	} while (result == -EAGAIN);
	assert_int_equal(result, -EFBIG);
	expect_why(SERVER, "too long");
}

static void test_what_is_no_tls_is_told_so(void **state)
{
	(void)state;
	ends_usual();
	assert_int_equal(send(ends.fd[CLIENT], "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
	assert_int_equal(xy_tls_handshake(ends.tls[SERVER]), -EPROTO);
	expect_why(SERVER, "not TLS");
}

#define one(function) cmocka_unit_test_teardown(function, test_teardown)
int main(void)
{
	if (!CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free))
		return 1;
	const struct CMUnitTest tests[] = {
		one(test_memory_is_as_the_header_says),
		one(test_keys_may_change),
		one(test_records_without_data_do_not_go_on_for_ever),
		one(test_records_without_data_are_paid_with_data),
		one(test_a_ticket_in_pieces_lets_a_client_send_later),
		one(test_a_message_that_says_it_is_long_gets_no_memory),
		one(test_a_handshake_has_an_end),
		one(test_what_is_no_tls_is_told_so),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
