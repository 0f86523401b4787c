/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * OpenSSL reads from the socket by a BIO of ours, and writes into it: what the socket does not take
 * is kept here, so that OpenSSL never has to be asked for the same once more, and a caller may
 * change his mind about everything that he has not been told to be taken.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "io/tls_internal.h"

/* Records that carry no data: more is an attack, unless so many bytes with data come for each. */
#define DATALESS_MAX  64
#define DATALESS_PAID (16u << 10)

/* ---- the BIO --------------------------------------------------------------------------------- */

static int bio_read(BIO *bio, char *buffer, size_t size, size_t *ret_got)
{
	struct xy_tls *tls = BIO_get_data(bio);
	ssize_t got;

	BIO_clear_retry_flags(bio);
	if (!tls->done && tls->received > XY_TLS_HANDSHAKE) {
		tls->socket_error = -EFBIG;
		return 0;
	}
	got = recv(tls->fd, buffer, size, MSG_DONTWAIT);
	if (got > 0) {
		tls->received += tls->done ? 0 : (uint32_t)got;
		*ret_got = (size_t)got;
		if (tls->done ||
		    xy_tls_messages_look(&tls->messages, (uint8_t *)buffer, (size_t)got))
			return 1;
		tls->socket_error = -EFBIG;
		return 0;
	}
	tls->eof = got == 0;
	tls->dry = got < 0 && (errno == EAGAIN || errno == EINTR);
	if (tls->dry)
		BIO_set_retry_read(bio);
	else if (got < 0)
		tls->socket_error = -errno;
	return 0;
}

static void unsent_free(struct xy_tls *tls)
{
	free(tls->unsent);
	tls->unsent = NULL;
}

/* Keeps what the socket did not take. */
static int unsent_add(struct xy_tls *tls, const char *data, size_t length)
{
	if (!tls->unsent) {
		tls->unsent = malloc(XY_TLS_RECORD);
		tls->at = tls->length = 0;
	}
	if (!tls->unsent)
		return -ENOMEM;
	memcpy(tls->unsent + tls->length, data, length);
	tls->length += length;
	return 0;
}

/* Bytes that the socket has taken, or -errno. */
static ssize_t socket_send(struct xy_tls *tls, const void *data, size_t length)
{
	ssize_t sent = send(tls->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return sent;
}

static int bio_write(BIO *bio, const char *data, size_t length, size_t *ret_written)
{
	struct xy_tls *tls = BIO_get_data(bio);
	ssize_t sent = 0;

	BIO_clear_retry_flags(bio);
	if (!tls->unsent)
		sent = socket_send(tls, data, length);
	if (sent < 0) {
		tls->socket_error = (int)sent;
		return 0;
	}
	*ret_written = length;
	length -= (size_t)sent;
	if (!length)
		return 1;
	if (length > XY_TLS_RECORD - (tls->unsent ? tls->length : 0)) {
		/* Only of a handshake: it is asked for the same again. */
		tls->full = true;
		*ret_written = (size_t)sent;
		if (!sent)
			BIO_set_retry_write(bio);
		return sent > 0;
	}
	tls->socket_error = unsent_add(tls, data + sent, length);
	return tls->socket_error == 0;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void method_make(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "xylem");
	if (!method)
		return;
	BIO_meth_set_read_ex(method, bio_read);
	BIO_meth_set_write_ex(method, bio_write);
	BIO_meth_set_ctrl(method, bio_ctrl);
}

static BIO *bio_new(struct xy_tls *tls)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *bio;

	pthread_once(&once, method_make);
	bio = method ? BIO_new(method) : NULL;
	if (bio) {
		BIO_set_data(bio, tls);
		BIO_set_init(bio, 1);
	}
	return bio;
}

/* Each message of a handshake after the first one: OpenSSL tells of no more than the last before
 * its buffer is empty. */
static void message_seen(int sent, int version, int type, const void *bytes, size_t length,
			 SSL *ssl, void *context)
{
	struct xy_tls *tls = context;

	(void)version;
	(void)bytes;
	(void)length;
	(void)ssl;
	if (!sent && type == SSL3_RT_HANDSHAKE && tls->done)
		tls->dataless++;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Whom the other side's certificate must name: among its subjectAltNames. What a subject is called
 * is no name of a host (RFC 9525), and those who sign may not look whether it is. */
static bool host_set(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	if (X509_VERIFY_PARAM_set1_ip_asc(param, host))
		return true;
	ERR_clear_error();
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
						       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return X509_VERIFY_PARAM_set1_host(param, host, 0) && SSL_set_tlsext_host_name(ssl, host);
}

struct xy_tls *xy_tls_new(struct xy_tls_context *context, int fd, const char *host)
{
	struct xy_tls *tls = calloc(1, sizeof(*tls));
	BIO *bio;

	if (!tls)
		return NULL;
	tls->fd = fd;
	tls->verified = X509_V_OK;
	tls->ssl = SSL_new(context->ssl);
	bio = tls->ssl ? bio_new(tls) : NULL;
	if (!bio)
		goto err_free;
	SSL_set_bio(tls->ssl, bio, bio);
	SSL_set_msg_callback(tls->ssl, message_seen);
	SSL_set_msg_callback_arg(tls->ssl, tls);
	if (host && !host_set(tls->ssl, host))
		goto err_free;
	if (context->server)
		SSL_set_accept_state(tls->ssl);
	else
		SSL_set_connect_state(tls->ssl);
	return tls;

err_free:
	ERR_clear_error();
	xy_tls_free(tls);
	return NULL;
}

void xy_tls_free(struct xy_tls *tls)
{
	if (!tls)
		return;
	SSL_free(tls->ssl);
	free(tls->unsent);
	free(tls);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static int fail_send(struct xy_tls *tls, int error)
{
	tls->send_error = error;
	unsent_free(tls);
	ERR_clear_error();
	return error;
}

static int fail(struct xy_tls *tls, int error)
{
	tls->error = error;
	unsent_free(tls);
	tls->reason = ERR_peek_error();
	ERR_clear_error();
	return error;
}

/* What ended it: what the socket says comes first, for OpenSSL only saw that there was something.
 */
static int failed(struct xy_tls *tls)
{
	unsigned long code = ERR_peek_error();

	if (tls->socket_error)
		return fail(tls, tls->socket_error);
	if (tls->eof)
		return fail(tls, -ECONNABORTED);
	tls->verified = SSL_get_verify_result(tls->ssl);
	return fail(tls, ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ? -ENOMEM : -EPROTO);
}

/* Before every call of OpenSSL. */
static void prepare(struct xy_tls *tls)
{
	ERR_clear_error();
	tls->dry = false;
	tls->full = false;
	tls->socket_error = 0;
}

/* ---- the handshake --------------------------------------------------------------------------- */

int xy_tls_handshake(struct xy_tls *tls)
{
	int error, r;

	if (tls->error || tls->done)
		return tls->error;
	error = xy_tls_flush(tls);
	if (error == -EAGAIN && tls->full)
		return error;
	if (error && error != -EAGAIN)
		return error;
	prepare(tls);
	r = SSL_do_handshake(tls->ssl);
	if (r == 1) {
		tls->done = true;
		tls->pending = SSL_has_pending(tls->ssl);
		return 0;
	}
	switch (SSL_get_error(tls->ssl, r)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	default:
		return failed(tls);
	}
}

uint32_t xy_tls_waits(const struct xy_tls *tls)
{
	return (tls->full ? 0 : EPOLLIN) | (tls->unsent ? EPOLLOUT : 0);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* A byte of data beside each of them must not be enough. */
static void dataless_pay(struct xy_tls *tls, size_t bytes)
{
	if (!tls->dataless)
		return;
	tls->paid += (uint32_t)xy_min(bytes, (size_t)XY_TLS_PLAIN);
	if (tls->paid >= DATALESS_PAID) {
		tls->paid -= DATALESS_PAID;
		tls->dataless--;
	}
}

ssize_t xy_tls_recv(struct xy_tls *tls, void *buffer, size_t size)
{
	uint32_t dataless;
	size_t got;

	tls->pending = false;
	if (tls->error)
		return tls->error;
	while (!tls->ended) {
		prepare(tls);
		if (tls->dataless > DATALESS_MAX)
			return fail(tls, -EPROTO);
		dataless = tls->dataless;
		if (SSL_read_ex(tls->ssl, buffer, size, &got)) {
			dataless_pay(tls, got);
			tls->pending = SSL_has_pending(tls->ssl);
			return (ssize_t)got;
		}
		switch (SSL_get_error(tls->ssl, 0)) {
		case SSL_ERROR_ZERO_RETURN:
			tls->ended = true;
			break;
		case SSL_ERROR_WANT_READ:
			if (tls->dry)
				return -EAGAIN;
			tls->dataless += tls->dataless == dataless;
			break;
		default:
			return failed(tls);
		}
	}
	return 0;
}

bool xy_tls_pending(const struct xy_tls *tls)
{
	return tls->pending;
}

/* ---- sending --------------------------------------------------------------------------------- */

int xy_tls_flush(struct xy_tls *tls)
{
	ssize_t sent;

	if (tls->error || tls->send_error)
		return tls->error ? tls->error : tls->send_error;
	while (tls->unsent) {
		sent = socket_send(tls, tls->unsent + tls->at, tls->length - tls->at);
		if (sent < 0)
			return fail_send(tls, (int)sent);
		if (sent == 0)
			return -EAGAIN;
		tls->at += (size_t)sent;
		if (tls->at == tls->length)
			unsent_free(tls);
	}
	return 0;
}

bool xy_tls_stalled(const struct xy_tls *tls)
{
	return tls->done && SSL_in_init(tls->ssl);
}

size_t xy_tls_unsent(const struct xy_tls *tls)
{
	return tls->unsent ? tls->length - tls->at : 0;
}

/* What becomes one record: a piece that is large enough as it is, several together in `room`. */
static size_t record_gather(const struct iovec *iov, int count, uint8_t room[XY_TLS_PLAIN],
			    const void **ret_data)
{
	size_t length = 0;

	while (count > 1 && !iov->iov_len) {
		iov++;
		count--;
	}
	if (count == 1 || iov->iov_len >= XY_TLS_PLAIN) {
		*ret_data = iov->iov_base;
		return xy_min(iov->iov_len, (size_t)XY_TLS_PLAIN);
	}
	for (int i = 0; i < count && length < XY_TLS_PLAIN; i++) {
		size_t part = xy_min(iov[i].iov_len, XY_TLS_PLAIN - length);

		memcpy(room + length, iov[i].iov_base, part);
		length += part;
	}
	*ret_data = room;
	return length;
}

ssize_t xy_tls_send(struct xy_tls *tls, const struct iovec *iov, int count)
{
	uint8_t room[XY_TLS_PLAIN];
	const void *data;
	size_t length, taken;
	int error = xy_tls_flush(tls);

	if (error)
		return error;
	if (tls->closed)
		return -EPIPE;
	length = count ? record_gather(iov, count, room, &data) : 0;
	if (!length)
		return 0;
	/* OpenSSL would read the rest of that message first, and what has come behind it. */
	if (xy_tls_stalled(tls))
		return -EAGAIN;
	prepare(tls);
	if (!SSL_write_ex(tls->ssl, data, length, &taken))
		return tls->socket_error ? fail_send(tls, tls->socket_error) : failed(tls);
	return (ssize_t)taken;
}

int xy_tls_close(struct xy_tls *tls)
{
	if (!tls->error && !tls->send_error && tls->done && !tls->closed) {
		tls->closed = true;
		prepare(tls);
		if (SSL_shutdown(tls->ssl) < 0)
			return tls->socket_error ? fail_send(tls, tls->socket_error) : failed(tls);
	}
	return xy_tls_flush(tls);
}

size_t xy_tls_memory(const struct xy_tls *tls)
{
	return XY_TLS_MEMORY + (size_t)tls->received * XY_TLS_PARSED;
}

size_t xy_tls_buffers(const struct xy_tls *tls)
{
	return (tls->unsent ? XY_TLS_RECORD : 0) + (SSL_has_pending(tls->ssl) ? XY_TLS_RECORD : 0);
}
