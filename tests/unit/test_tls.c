/* SPDX-License-Identifier: BSD-2-Clause */
/* TLS on socket pairs: both sides, and by OpenSSL alone where ours would not do what is to be seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "common/certs.h"
#include "io/tls.h"

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

/* ---- ends ------------------------------------------------------------------------------------ */

static struct cert *ca, *other_ca, *server_cert, *client_cert;

/* Of a test: freed by its teardown. */
struct ends {
	int fd[2];
	struct xy_tls_context *context[2];
	struct xy_tls *tls[2]; /* server, client */
};
enum { SERVER, CLIENT };
static struct ends ends;

static int setup(void **state)
{
	(void)state;
	ca = cert_make(&(struct cert_options){.name = "ca", .is_ca = true});
	other_ca = cert_make(&(struct cert_options){.name = "other", .is_ca = true});
	server_cert = cert_make(&(struct cert_options){
		.name = "x", .alternatives = "DNS:proxy.test,IP:127.0.0.1", .issuer = ca});
	client_cert = cert_make(
		&(struct cert_options){.name = "x",
				       .alternatives = "IP:10.0.0.1,DNS:shop.till,URI:spiffe://a",
				       .issuer = ca});
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cert_free(ca);
	cert_free(other_ca);
	cert_free(server_cert);
	cert_free(client_cert);
	return 0;
}

static int test_teardown(void **state)
{
	(void)state;
	for (unsigned side = 0; side < 2; side++) {
		xy_tls_free(ends.tls[side]);
		xy_tls_context_put(ends.context[side]);
		if (ends.fd[side] > 0)
			close(ends.fd[side]);
	}
	ends = (struct ends){0};
	return 0;
}

static struct xy_tls_pem pem(const char *text)
{
	return (struct xy_tls_pem){.text = text, .length = text ? strlen(text) : 0};
}

static struct xy_tls_options options_of(bool server, const struct cert *own, const struct cert *ca)
{
	return (struct xy_tls_options){.size = sizeof(struct xy_tls_options),
				       .server = server,
				       .certificate = pem(own ? own->pem : NULL),
				       .key = pem(own ? own->key_pem : NULL),
				       .ca = pem(ca ? ca->pem : NULL)};
}

static struct xy_tls_context *context_make(const struct xy_tls_options *options)
{
	struct xy_tls_context *context;
	enum xy_tls_part part;
	char why[XY_TLS_WHY_SIZE] = "";

	if (xy_tls_context_new(options, &context, &part, why))
		fail_msg("part %d: %s", part, why);
	return context;
}

static void sockets_make(void)
{
	const int small = 8192;

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.fd), 0);
	for (unsigned side = 0; side < 2; side++)
		setsockopt(ends.fd[side], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

static void ends_make(const struct xy_tls_options *server, const struct xy_tls_options *client,
		      const char *host)
{
	sockets_make();
	ends.context[SERVER] = context_make(server);
	ends.context[CLIENT] = context_make(client);
	ends.tls[SERVER] = xy_tls_new(ends.context[SERVER], ends.fd[SERVER], NULL);
	ends.tls[CLIENT] = xy_tls_new(ends.context[CLIENT], ends.fd[CLIENT], host);
	assert_non_null(ends.tls[SERVER]);
	assert_non_null(ends.tls[CLIENT]);
}

static void ends_usual(void)
{
	struct xy_tls_options server = options_of(true, server_cert, ca);
	struct xy_tls_options client = options_of(false, client_cert, ca);

	ends_make(&server, &client, "proxy.test");
}

/* Both, until none waits any more. What each came to. */
static void shake(int results[2])
{
	for (unsigned n = 0; n < 100; n++) {
		results[CLIENT] = xy_tls_handshake(ends.tls[CLIENT]);
		results[SERVER] = xy_tls_handshake(ends.tls[SERVER]);
		if (results[CLIENT] != -EAGAIN && results[SERVER] != -EAGAIN)
			return;
		if (results[CLIENT] && results[CLIENT] != -EAGAIN)
			shutdown(ends.fd[CLIENT], SHUT_WR);
		if (results[SERVER] && results[SERVER] != -EAGAIN)
			shutdown(ends.fd[SERVER], SHUT_WR);
	}
	fail_msg("no end: client %d, server %d", results[CLIENT], results[SERVER]);
}

static void shake_well(void)
{
	char why[XY_TLS_WHY_SIZE] = "";
	int results[2];

	shake(results);
	for (unsigned side = 0; side < 2; side++)
		if (results[side]) {
			xy_tls_why(ends.tls[side], why);
			fail_msg("side %u: %d %s", side, results[side], why);
		}
}

static void expect_why(unsigned side, const char *part)
{
	char why[XY_TLS_WHY_SIZE] = "";

	xy_tls_why(ends.tls[side], why);
	if (!strstr(why, part))
		fail_msg("'%s' is not in '%s'", part, why);
}

static bool readable(unsigned side)
{
	struct pollfd pollfd = {.fd = ends.fd[side], .events = POLLIN};

	return poll(&pollfd, 1, 0) == 1;
}

/* ---- who it is ------------------------------------------------------------------------------- */

static void test_both_sides_know_each_other(void **state)
{
	struct xy_tls_peer peer;
	const uint8_t(*anchors)[XY_TLS_DIGEST];

	(void)state;
	ends_usual();
	shake_well();
	assert_string_equal(xy_tls_version(ends.tls[SERVER]), "TLSv1.3");
	assert_string_equal(xy_tls_cipher(ends.tls[SERVER]), xy_tls_cipher(ends.tls[CLIENT]));
	assert_int_equal(xy_tls_peer(ends.tls[SERVER], &peer), 0);
	assert_string_equal(peer.name, "shop.till");
	assert_int_equal(xy_tls_context_anchors(ends.context[SERVER], &anchors), 1);
	assert_memory_equal(peer.anchor, anchors[0], XY_TLS_DIGEST);
	assert_int_equal(xy_tls_peer(ends.tls[CLIENT], &peer), 0);
	assert_string_equal(peer.name, "proxy.test");
}

/* The name of a client with such a certificate; "" = it has none that counts. */
static void expect_name(const struct cert_options *made, const char *name)
{
	struct cert *cert = cert_make(made);
	struct xy_tls_options server = options_of(true, server_cert, ca);
	struct xy_tls_options client = options_of(false, cert, ca);
	struct xy_tls_peer peer;

	ends_make(&server, &client, "proxy.test");
	shake_well();
	assert_int_equal(xy_tls_peer(ends.tls[SERVER], &peer), *name ? 0 : -EINVAL);
	if (*name)
		assert_string_equal(peer.name, name);
	test_teardown(NULL);
	cert_free(cert);
}

static void test_the_name_is_the_first_that_counts(void **state)
{
	char longest[XY_TLS_NAME_MAX + 1 + 4] = "DNS:";

	(void)state;
	expect_name(&(struct cert_options){.issuer = ca, .name = "a.b"}, "a.b");
	expect_name(&(struct cert_options){.issuer = ca, .name = "a", .alternatives = "IP:1.2.3.4"},
		    "a");
	expect_name(
		&(struct cert_options){.issuer = ca, .name = "a", .alternatives = "URI:s://b/c"},
		"s://b/c");
	expect_name(&(struct cert_options){.issuer = ca, .alternatives = "email:a@b.c,DNS:d"},
		    "a@b.c");
	expect_name(&(struct cert_options){.issuer = ca, .alternatives = "IP:1.2.3.4"}, "");
	expect_name(&(struct cert_options){.issuer = ca}, "");
	memset(longest + 4, 'a', XY_TLS_NAME_MAX);
	expect_name(&(struct cert_options){.issuer = ca, .alternatives = longest}, longest + 4);
}

static void test_nobody_has_to_show_a_certificate(void **state)
{
	struct xy_tls_options server = options_of(true, server_cert, ca);
	struct xy_tls_options client = options_of(false, NULL, ca);
	struct xy_tls_peer peer;

	(void)state;
	ends_make(&server, &client, "127.0.0.1");
	shake_well();
	assert_int_equal(xy_tls_peer(ends.tls[SERVER], &peer), -ENOENT);
}

static void test_a_server_without_ca_asks_for_nothing(void **state)
{
	struct xy_tls_options server = options_of(true, server_cert, NULL);
	struct xy_tls_options client = options_of(false, client_cert, ca);
	struct xy_tls_peer peer;

	(void)state;
	ends_make(&server, &client, "proxy.test");
	shake_well();
	assert_int_equal(xy_tls_peer(ends.tls[SERVER], &peer), -ENOENT);
}

/* A client with such a certificate is refused, and hears why. */
static void expect_refused(const struct cert_options *made, const char *server_why,
			   const char *client_why)
{
	struct cert *cert = cert_make(made);
	struct xy_tls_options server = options_of(true, server_cert, ca);
	struct xy_tls_options client = options_of(false, cert, ca);
	uint8_t byte;
	int results[2];

	ends_make(&server, &client, "proxy.test");
	shake(results);
	assert_int_equal(results[SERVER], -EPROTO);
	expect_why(SERVER, server_why);
	assert_int_equal(results[CLIENT], 0);
	assert_int_equal(xy_tls_recv(ends.tls[CLIENT], &byte, 1), -EPROTO);
	assert_int_equal(xy_tls_recv(ends.tls[CLIENT], &byte, 1), -EPROTO);
	expect_why(CLIENT, client_why);
	test_teardown(NULL);
	cert_free(cert);
}

static void test_bad_clients_are_refused(void **state)
{
	(void)state;
	expect_refused(&(struct cert_options){.name = "a", .issuer = other_ca}, "issuer",
		       "unknown ca");
	expect_refused(&(struct cert_options){.name = "a"}, "self-signed", "unknown ca");
	expect_refused(&(struct cert_options){.name = "a", .issuer = ca, .from = -2, .until = -1},
		       "expired", "expired");
	expect_refused(&(struct cert_options){.name = "a", .issuer = ca, .from = 100, .until = 200},
		       "not yet valid", "bad certificate");
	expect_refused(&(struct cert_options){.name = "a", .issuer = ca, .usage = "serverAuth"},
		       "purpose", "certificate");
}

static void expect_refused_by(const struct cert *cert, const struct cert *trusted, const char *host,
			      const char *why)
{
	struct xy_tls_options server = options_of(true, cert, NULL);
	struct xy_tls_options client = options_of(false, NULL, trusted);
	int results[2];

	ends_make(&server, &client, host);
	shake(results);
	assert_int_equal(results[CLIENT], -EPROTO);
	expect_why(CLIENT, why);
	assert_int_equal(results[SERVER], -EPROTO);
	test_teardown(NULL);
}

static void expect_server_refused(const struct cert *trusted, const char *host, const char *why)
{
	expect_refused_by(server_cert, trusted, host, why);
}

static void test_bad_servers_are_refused(void **state)
{
	struct cert *subject =
		cert_make(&(struct cert_options){.name = "proxy.test", .issuer = ca});

	(void)state;
	expect_server_refused(other_ca, "proxy.test", "issuer");
	expect_server_refused(ca, "other.test", "hostname mismatch");
	expect_server_refused(ca, "127.0.0.2", "IP address mismatch");
	expect_server_refused(NULL, "proxy.test", "issuer");
	/* What the subject is called names no host. */
	expect_refused_by(subject, ca, "proxy.test", "hostname mismatch");
	cert_free(subject);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* The stream: each byte follows from its place. */
static uint8_t byte_at(size_t place)
{
	return (uint8_t)(place ^ place >> 8 ^ place >> 16);
}

struct flow {
	unsigned from, to;
	size_t total, sent, got;
	size_t piece; /* of a send */
};

static void flow_send(struct flow *flow)
{
	static uint8_t bytes[100000];
	size_t length = flow->total - flow->sent, head;
	struct iovec iov[3];
	ssize_t taken;

	length = length < flow->piece ? length : flow->piece;
	if (!length) {
		xy_tls_flush(ends.tls[flow->from]);
		return;
	}
	for (size_t i = 0; i < length; i++)
		bytes[i] = byte_at(flow->sent + i);
	head = length / 3;
	iov[0] = (struct iovec){bytes, 0};
	iov[1] = (struct iovec){bytes, head};
	iov[2] = (struct iovec){bytes + head, length - head};
	taken = xy_tls_send(ends.tls[flow->from], iov, 3);
	/* What was not taken may be something else the next time. */
	memset(bytes, 0xee, sizeof(bytes));
	if (taken > 0)
		flow->sent += (size_t)taken;
	else
		assert_int_equal(taken, -EAGAIN);
}

/* As a loop does: what is ready, or pending. */
static void flow_recv(struct flow *flow, size_t size)
{
	static uint8_t bytes[100000];
	struct xy_tls *tls = ends.tls[flow->to];
	ssize_t got;

	if (!readable(flow->to) && !xy_tls_pending(tls))
		return;
	got = xy_tls_recv(tls, bytes, size);
	if (got < 0) {
		assert_int_equal(got, -EAGAIN);
		return;
	}
	assert_true(got > 0);
	for (ssize_t i = 0; i < got; i++)
		if (bytes[i] != byte_at(flow->got + (size_t)i))
			fail_msg("byte %zu is another one", flow->got + (size_t)i);
	flow->got += (size_t)got;
}

static void test_bytes_arrive_as_they_were(void **state)
{
	static const size_t pieces[] = {1, 59, 4096, 16384, 16385, 100000};

	(void)state;
	ends_usual();
	shake_well();
	for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
		size_t total = pieces[p] == 1 ? 3000 : 600000;
		struct flow flow[2] = {{SERVER, CLIENT, total, 0, 0, pieces[p]},
				       {CLIENT, SERVER, total, 0, 0, pieces[p]}};

		for (unsigned n = 0; flow[0].got < total || flow[1].got < total; n++) {
			assert_in_range(n, 0, 1000000);
			flow_send(&flow[n & 1]);
			flow_send(&flow[n & 1]);
			flow_recv(&flow[n >> 1 & 1], n % 3 ? 1000 : 100000);
		}
	}
	for (unsigned side = 0; side < 2; side++) {
		assert_int_equal(xy_tls_unsent(ends.tls[side]), 0);
		assert_int_equal(xy_tls_buffers(ends.tls[side]), 0);
	}
}

static void say(unsigned side, const char *text)
{
	struct iovec iov = {(void *)text, strlen(text)};

	assert_int_equal(xy_tls_send(ends.tls[side], &iov, 1), strlen(text));
}

static void test_what_is_unsent_is_bounded(void **state)
{
	static uint8_t bytes[100000];
	struct iovec iov = {bytes, sizeof(bytes)};
	size_t taken = 0;
	ssize_t one;

	(void)state;
	ends_usual();
	shake_well();
	while ((one = xy_tls_send(ends.tls[SERVER], &iov, 1)) > 0) {
		assert_in_range(one, 1, 16384);
		taken += (size_t)one;
		assert_in_range(taken, 1, 1000000);
	}
	assert_int_equal(one, -EAGAIN);
	assert_in_range(xy_tls_unsent(ends.tls[SERVER]), 1, XY_TLS_RECORD);
	assert_int_equal(xy_tls_buffers(ends.tls[SERVER]), XY_TLS_RECORD);
	assert_int_equal(xy_tls_flush(ends.tls[SERVER]), -EAGAIN);
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

/* ---- how it ends ----------------------------------------------------------------------------- */

static void test_an_end_is_said(void **state)
{
	char buffer[16];

	(void)state;
	ends_usual();
	shake_well();
	say(CLIENT, "last");
	assert_int_equal(xy_tls_close(ends.tls[CLIENT]), 0);
	assert_int_equal(xy_tls_close(ends.tls[CLIENT]), 0);
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 4);
	assert_true(xy_tls_pending(ends.tls[SERVER]) || readable(SERVER));
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 0);
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 0);
	/* The other direction goes on. */
	say(SERVER, "more");
	assert_int_equal(xy_tls_recv(ends.tls[CLIENT], buffer, sizeof(buffer)), 4);
}

static void test_a_cut_is_no_end(void **state)
{
	char buffer[16];

	(void)state;
	ends_usual();
	shake_well();
	say(CLIENT, "last");
	shutdown(ends.fd[CLIENT], SHUT_WR);
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 4);
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), -ECONNABORTED);
	expect_why(SERVER, "cut");
}

static void test_who_has_gone_raises_no_signal(void **state)
{
	static uint8_t bytes[1000];
	struct iovec iov = {bytes, sizeof(bytes)};
	char buffer[16];

	(void)state;
	ends_usual();
	shake_well();
	say(CLIENT, "last");
	assert_int_equal(xy_tls_close(ends.tls[CLIENT]), 0);
	close(ends.fd[CLIENT]);
	ends.fd[CLIENT] = -1;
	assert_int_equal(xy_tls_send(ends.tls[SERVER], &iov, 1), -EPIPE);
	assert_int_equal(xy_tls_flush(ends.tls[SERVER]), -EPIPE);
	expect_why(SERVER, "pipe");
	/* What it had sent is there. */
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 4);
	assert_int_equal(xy_tls_recv(ends.tls[SERVER], buffer, sizeof(buffer)), 0);
}

/* ---- contexts -------------------------------------------------------------------------------- */

static void expect_no_context(struct xy_tls_options options, enum xy_tls_part part, const char *why)
{
	struct xy_tls_context *context = NULL;
	enum xy_tls_part bad = XY_TLS_OTHER;
	char said[XY_TLS_WHY_SIZE] = "";

	assert_int_equal(xy_tls_context_new(&options, &context, &bad, said), -EINVAL);
	assert_null(context);
	assert_int_equal(bad, part);
	if (!strstr(said, why))
		fail_msg("'%s' is not in '%s'", why, said);
}

static void test_what_is_wrong_is_said(void **state)
{
	struct xy_tls_options good = options_of(true, server_cert, ca), bad;
	char *cut = strdup(server_cert->pem);

	(void)state;
	bad = good;
	bad.certificate = pem("nothing");
	expect_no_context(bad, XY_TLS_CERTIFICATE, "no certificate");
	cut[strlen(cut) / 2] = '!';
	bad.certificate = pem(cut);
	expect_no_context(bad, XY_TLS_CERTIFICATE, "damaged");
	bad = good;
	bad.key = pem(server_cert->pem);
	expect_no_context(bad, XY_TLS_KEY, "no private key");
	bad.key = pem(client_cert->key_pem);
	expect_no_context(bad, XY_TLS_KEY, "not the key");
	bad = good;
	bad.ca = pem("");
	expect_no_context(bad, XY_TLS_CA, "no certificate");
	bad.ca = pem(cut);
	expect_no_context(bad, XY_TLS_CA, "damaged");
	free(cut);
}

static void expect_warning(long from, long until, const char *expected)
{
	struct cert *cert = cert_make(
		&(struct cert_options){.name = "a", .issuer = ca, .from = from, .until = until});
	struct xy_tls_options options = options_of(true, cert, NULL);
	struct xy_tls_context *context = context_make(&options);
	char why[XY_TLS_WHY_SIZE] = "";

	assert_int_equal(xy_tls_context_warns(context, why), *expected != 0);
	if (!strstr(why, expected))
		fail_msg("'%s' is not in '%s'", expected, why);
	xy_tls_context_put(context);
	cert_free(cert);
}

static void test_time_is_told(void **state)
{
	(void)state;
	expect_warning(-1000, -10, "has expired");
	expect_warning(1000, 2000, "not valid before");
	expect_warning(-1000, 1000, "expires on");
	expect_warning(-1000, 1000000, "");
}

#define one(function) cmocka_unit_test_teardown(function, test_teardown)
int main(void)
{
	if (!CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free))
		return 1;
	const struct CMUnitTest tests[] = {
		one(test_both_sides_know_each_other),
		one(test_the_name_is_the_first_that_counts),
		one(test_nobody_has_to_show_a_certificate),
		one(test_a_server_without_ca_asks_for_nothing),
		one(test_bad_clients_are_refused),
		one(test_bad_servers_are_refused),
		one(test_bytes_arrive_as_they_were),
		one(test_what_is_unsent_is_bounded),
		one(test_memory_is_as_the_header_says),
		one(test_keys_may_change),
		one(test_records_without_data_do_not_go_on_for_ever),
		one(test_records_without_data_are_paid_with_data),
		one(test_a_ticket_in_pieces_lets_a_client_send_later),
		one(test_a_message_that_says_it_is_long_gets_no_memory),
		one(test_a_handshake_has_an_end),
		one(test_what_is_no_tls_is_told_so),
		one(test_an_end_is_said),
		one(test_a_cut_is_no_end),
		one(test_who_has_gone_raises_no_signal),
		one(test_what_is_wrong_is_said),
		one(test_time_is_told),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
