/* SPDX-License-Identifier: BSD-2-Clause */
/* Two ends of TLS on a socket pair, in one thread, and certificates for them. */
#ifndef UNIT_TLS_FIXTURE_H
#define UNIT_TLS_FIXTURE_H

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/certs.h"
#include "io/tls.h"

static struct cert *ca, *other_ca, *server_cert, *client_cert;

/* Of a test: freed by its teardown. */
struct ends {
	int fd[2];
	struct xy_tls_context *context[2];
	struct xy_tls *tls[2]; /* server, client */
};
enum { SERVER, CLIENT };
static struct ends ends;

static inline int setup(void **state)
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

static inline int teardown(void **state)
{
	(void)state;
	cert_free(ca);
	cert_free(other_ca);
	cert_free(server_cert);
	cert_free(client_cert);
	return 0;
}

static inline int test_teardown(void **state)
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

static inline struct xy_tls_pem pem(const char *text)
{
	return (struct xy_tls_pem){.text = text, .length = text ? strlen(text) : 0};
}

static inline struct xy_tls_options options_of(bool server, const struct cert *own,
					       const struct cert *ca)
{
	return (struct xy_tls_options){.size = sizeof(struct xy_tls_options),
				       .server = server,
				       .certificate = pem(own ? own->pem : NULL),
				       .key = pem(own ? own->key_pem : NULL),
				       .ca = pem(ca ? ca->pem : NULL)};
}

static inline struct xy_tls_context *context_make(const struct xy_tls_options *options)
{
	struct xy_tls_context *context;
	enum xy_tls_part part;
	char why[XY_TLS_WHY_SIZE] = "";

	if (xy_tls_context_new(options, &context, &part, why))
		fail_msg("part %d: %s", part, why);
	return context;
}

static inline void sockets_make(void)
{
	const int small = 8192;

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.fd), 0);
	for (unsigned side = 0; side < 2; side++)
		setsockopt(ends.fd[side], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

static inline void ends_make(const struct xy_tls_options *server,
			     const struct xy_tls_options *client, const char *host)
{
	sockets_make();
	ends.context[SERVER] = context_make(server);
	ends.context[CLIENT] = context_make(client);
	ends.tls[SERVER] = xy_tls_new(ends.context[SERVER], ends.fd[SERVER], NULL);
	ends.tls[CLIENT] = xy_tls_new(ends.context[CLIENT], ends.fd[CLIENT], host);
	assert_non_null(ends.tls[SERVER]);
	assert_non_null(ends.tls[CLIENT]);
}

static inline void ends_usual(void)
{
	struct xy_tls_options server = options_of(true, server_cert, ca);
	struct xy_tls_options client = options_of(false, client_cert, ca);

	ends_make(&server, &client, "proxy.test");
}

/* Both, until none waits any more. What each came to. */
static inline void shake(int results[2])
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

static inline void shake_well(void)
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

static inline void expect_why(unsigned side, const char *part)
{
	char why[XY_TLS_WHY_SIZE] = "";

	xy_tls_why(ends.tls[side], why);
	if (!strstr(why, part))
		fail_msg("'%s' is not in '%s'", part, why);
}

static inline bool readable(unsigned side)
{
	struct pollfd pollfd = {.fd = ends.fd[side], .events = POLLIN};

	return poll(&pollfd, 1, 0) == 1;
}

static inline void say(unsigned side, const char *text)
{
	struct iovec iov = {(void *)text, strlen(text)};

	assert_int_equal(xy_tls_send(ends.tls[side], &iov, 1), strlen(text));
}

#endif
