/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A server of TLS in front of a plain proxy, for tests of libxylem: one thread, one connection
 * after the other, OpenSSL as it comes. It can keep what the proxy says until there is enough of
 * it, cut the connection without a word, and change its certificate between two connections.
 *
 * Every function fails the running cmocka test when it cannot do what it says.
 */
#ifndef TLS_RELAY_H
#define TLS_RELAY_H

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "common/certs.h"
#include "unit/fake_proxy.h"

#define RELAY_BUFFER (512u << 10)

struct relay {
	/* Before relay_start(). */
	uint16_t to;              /* port of the proxy */
	const struct cert *cert;  /* under the lock, for the next connection */
	const struct cert *asked; /* who must have signed the client's certificate; NULL: none is
				     asked for */

	/* Its own. */
	int listener, wake;
	uint16_t port;
	pthread_t thread;
	pthread_mutex_t lock; /* all below, and cert */
	bool stop, cut;
	bool farewell; /* the client has said that it sends no more */
	size_t gather; /* bytes of the proxy that go to the client together, once */
};

/* Bytes on their way, in one direction. */
struct relay_way {
	uint8_t *data;
	size_t at, length;
	bool ended, full; /* full: the client's socket takes no more */
};

static inline bool relay_get(struct relay *relay, bool *flag)
{
	bool value;

	pthread_mutex_lock(&relay->lock);
	value = *flag;
	pthread_mutex_unlock(&relay->lock);
	return value;
}

static inline void relay_flag(struct relay *relay, bool *flag)
{
	pthread_mutex_lock(&relay->lock);
	*flag = true;
	pthread_mutex_unlock(&relay->lock);
}

static inline SSL_CTX *relay_context(struct relay *relay)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	pthread_mutex_lock(&relay->lock);
	SSL_CTX_use_certificate(context, relay->cert->certificate);
	SSL_CTX_use_PrivateKey(context, relay->cert->key);
	if (relay->asked) {
		X509_STORE_add_cert(SSL_CTX_get_cert_store(context), relay->asked->certificate);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
				   NULL);
	}
	pthread_mutex_unlock(&relay->lock);
	SSL_CTX_set_mode(context,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return context;
}

static inline int relay_dial(const struct relay *relay)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(relay->to),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		close(fd);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* From the client: false when there is no more. Sets `moved`. */
static inline bool relay_up(SSL *ssl, int proxy, struct relay_way *way, bool *moved)
{
	ssize_t n;

	ERR_clear_error();
	if (way->at == way->length) {
		int got = SSL_read(ssl, way->data, RELAY_BUFFER);

		way->at = 0;
		way->length = got > 0 ? (size_t)got : 0;
		if (got <= 0 && SSL_get_error(ssl, got) != SSL_ERROR_WANT_READ)
			return false;
		*moved |= got > 0;
	}
	if (way->at == way->length)
		return true;
	n = syscall(SYS_sendto, proxy, way->data + way->at, way->length - way->at,
		    MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0);
	if (n < 0)
		return errno == EAGAIN;
	way->at += (size_t)n;
	*moved |= n > 0;
	return true;
}

/* To the client. */
static inline bool relay_down(struct relay *relay, SSL *ssl, int proxy, struct relay_way *way,
			      bool *moved)
{
	size_t gather;
	ssize_t n = 0;
	int put;

	pthread_mutex_lock(&relay->lock);
	gather = relay->gather;
	pthread_mutex_unlock(&relay->lock);
	if (way->length < RELAY_BUFFER && !way->ended) {
		n = recv(proxy, way->data + way->length, RELAY_BUFFER - way->length, MSG_DONTWAIT);
		way->ended = n == 0 || (n < 0 && errno != EAGAIN);
		way->length += n > 0 ? (size_t)n : 0;
		*moved |= n > 0;
	}
	if (way->at == way->length)
		return !way->ended;
	if (way->length - way->at < gather && !way->ended)
		return true;
	pthread_mutex_lock(&relay->lock);
	relay->gather = 0;
	pthread_mutex_unlock(&relay->lock);
	ERR_clear_error();
	put = SSL_write(ssl, way->data + way->at, (int)(way->length - way->at));
	way->full = put <= 0;
	if (put <= 0)
		return SSL_get_error(ssl, put) == SSL_ERROR_WANT_WRITE;
	way->at += (size_t)put;
	if (way->at == way->length)
		way->at = way->length = 0;
	*moved = true;
	return true;
}

static inline void relay_pump(struct relay *relay, SSL *ssl, int client, int proxy)
{
	struct relay_way up = {.data = malloc(RELAY_BUFFER)};
	struct relay_way down = {.data = malloc(RELAY_BUFFER)};
	bool goes = true;

	while (goes && !relay_get(relay, &relay->stop) && !relay_get(relay, &relay->cut)) {
		bool moved = false;
		uint64_t woken;

		goes = relay_up(ssl, proxy, &up, &moved) &&
		       relay_down(relay, ssl, proxy, &down, &moved);
		if (!goes || moved)
			continue;
		struct pollfd p[] = {
			{.fd = client, .events = up.at == up.length ? POLLIN : 0},
			{.fd = proxy,
			 .events = (short)((down.length < RELAY_BUFFER ? POLLIN : 0) |
					   (up.at < up.length ? POLLOUT : 0))},
			{.fd = relay->wake, .events = POLLIN},
		};
		if (down.full)
			p[0].events |= POLLOUT;
		poll(p, 3, -1);
		if (p[2].revents)
			(void)!read(relay->wake, &woken, sizeof(woken));
	}
	if (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN)
		relay_flag(relay, &relay->farewell);
	if (!relay_get(relay, &relay->cut))
		SSL_shutdown(ssl);
	free(up.data);
	free(down.data);
}

static inline void relay_serve(struct relay *relay, int client)
{
	SSL_CTX *context = relay_context(relay);
	SSL *ssl = SSL_new(context);
	int proxy = -1, on = 1;
	char byte;

	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	SSL_set_fd(ssl, client);
	if (SSL_accept(ssl) == 1)
		proxy = relay_dial(relay);
	if (proxy >= 0) {
		fcntl(client, F_SETFL, O_NONBLOCK);
		relay_pump(relay, ssl, client, proxy);
		close(proxy);
	}
	/* What is said last must not be eaten by a reset. */
	shutdown(client, SHUT_WR);
	fcntl(client, F_SETFL, 0);
	while (!relay_get(relay, &relay->cut) && read(client, &byte, 1) > 0)
		;
	pthread_mutex_lock(&relay->lock);
	relay->cut = false;
	pthread_mutex_unlock(&relay->lock);
	close(client);
	SSL_free(ssl);
	SSL_CTX_free(context);
	ERR_clear_error();
}

static inline void *relay_run(void *argument)
{
	struct relay *relay = argument;
	sigset_t all;
	int fd;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while ((fd = accept(relay->listener, NULL, NULL)) >= 0)
		relay_serve(relay, fd);
	return NULL;
}

static inline void relay_wake(struct relay *relay)
{
	uint64_t one = 1;

	assert_int_equal(write(relay->wake, &one, sizeof(one)), sizeof(one));
}

static inline void relay_start(struct relay *relay)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);

	relay->wake = eventfd(0, EFD_NONBLOCK);
	relay->listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(relay->listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(relay->listener, 8), 0);
	getsockname(relay->listener, (struct sockaddr *)&address, &size);
	relay->port = ntohs(address.sin_port);
	pthread_mutex_init(&relay->lock, NULL);
	assert_int_equal(pthread_create(&relay->thread, NULL, relay_run, relay), 0);
}

static inline void relay_set(struct relay *relay, bool *flag)
{
	relay_flag(relay, flag);
	relay_wake(relay);
}

/* Ends the connection, without a word to the client. */
static inline void relay_cut(struct relay *relay)
{
	relay_set(relay, &relay->cut);
}

/* Of the next connection. */
static inline void relay_use(struct relay *relay, const struct cert *cert)
{
	pthread_mutex_lock(&relay->lock);
	relay->cert = cert;
	pthread_mutex_unlock(&relay->lock);
}

/* The next `bytes` of the proxy go together. */
static inline void relay_gather(struct relay *relay, size_t bytes)
{
	pthread_mutex_lock(&relay->lock);
	relay->gather = bytes;
	pthread_mutex_unlock(&relay->lock);
}

/* After the client was closed. */
static inline void relay_stop(struct relay *relay)
{
	relay_set(relay, &relay->stop);
	shutdown(relay->listener, SHUT_RDWR);
	pthread_join(relay->thread, NULL);
	close(relay->listener);
	close(relay->wake);
	pthread_mutex_destroy(&relay->lock);
}

#endif
