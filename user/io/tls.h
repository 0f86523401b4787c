/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS on a connected, non-blocking stream socket, of either side (OpenSSL; 1.3, and 1.2 if asked).
 *
 * A context holds certificates and what they are verified by; it never changes, any thread may use
 * it, and who wants another one makes it anew: connections keep what they were made of. A
 * connection (struct xy_tls) belongs to one thread at a time. Nothing here blocks, raises SIGPIPE,
 * opens a file (but for the system's CAs, in xy_tls_context_new()) or closes the descriptor.
 * Errors: -errno.
 *
 * No renegotiation, no compression, no session tickets nor resumption, no early data; KeyUpdate is
 * answered. Of TLS 1.2 only ECDHE with AEAD.
 *
 * Memory of a connection: XY_TLS_MEMORY, and for what the other side has shown XY_TLS_PARSED for
 * each byte of its handshake; while part of a record has been read, or a record could not be sent
 * whole, XY_TLS_RECORD more for each of the two.
 *
 * How it goes with epoll (level-triggered):
 *
 *   - xy_tls_handshake() until it returns 0; on -EAGAIN wait for what xy_tls_waits() says.
 *   - xy_tls_recv() like recv(2). Readiness tells of the socket, and not of what was read from it
 *     and not taken: after the handshake, and after each xy_tls_recv() that returned bytes, wait
 *     only if not xy_tls_pending().
 *   - xy_tls_send() like sendmsg(2): bytes that it has taken are gone for the caller, also those
 *     that the socket did not take: while xy_tls_unsent() is not 0, wait for writability and call
 *     xy_tls_flush() (xy_tls_send() begins with that, too). Nothing more is taken meanwhile.
 *   - While xy_tls_stalled(), do not wait for writability, which would be there at once: sending
 *     can go on after an xy_tls_recv().
 */
#ifndef XY_IO_TLS_H
#define XY_IO_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define XY_TLS_MEMORY    (16u << 10) /* bytes */
#define XY_TLS_PARSED    16          /* bytes of memory for one of a certificate */
#define XY_TLS_PLAIN     16384       /* bytes in a record */
#define XY_TLS_RECORD    (17u << 10) /* bytes: a record and what may come before it */
#define XY_TLS_HANDSHAKE (32u << 10) /* bytes that a handshake may send us */
#define XY_TLS_NAME_MAX  255         /* of a peer */
#define XY_TLS_DIGEST    32          /* SHA-256 */
#define XY_TLS_WHY_SIZE  256

struct xy_tls_context;
struct xy_tls;

/* ---- contexts -------------------------------------------------------------------------------- */

/* PEM, need not end with a zero. text NULL: not given. */
struct xy_tls_pem {
	const char *text;
	size_t length;
};

/* What is wrong with a context, or worth a warning. */
enum xy_tls_part {
	XY_TLS_OTHER = 0, /* none of these: memory */
	XY_TLS_CERTIFICATE,
	XY_TLS_KEY,
	XY_TLS_CA,
};

struct xy_tls_options {
	size_t size; /* sizeof(struct xy_tls_options) */
	bool server;
	bool allow_1_2; /* else TLS 1.3 only */
	/* Own certificate, then those between it and a root; and its key, not encrypted. A server
	 * has both, a client both or none. */
	struct xy_tls_pem certificate, key;
	/* Certificates that the peer's must lead to, each of them trusted for itself. Of a server:
	 * clients are asked for a certificate, may have none, and are refused with a bad one; not
	 * given: they are not asked. Of a client: not given: those that the system trusts. */
	struct xy_tls_pem ca;
};

/* 0; -EINVAL: a part is no good; -ENOMEM. On failure *ret_part says which part, and why has a
 * sentence about it, which quotes nothing of it. Waits for no passphrase. */
int xy_tls_context_new(const struct xy_tls_options *options, struct xy_tls_context **ret_context,
		       enum xy_tls_part *ret_part, char why[XY_TLS_WHY_SIZE]);
struct xy_tls_context *xy_tls_context_get(struct xy_tls_context *context); /* one reference more */
void xy_tls_context_put(struct xy_tls_context *context);                   /* NULL is fine */
/* Whether the own certificate is out of its time, or will be within a week: a sentence in why. */
bool xy_tls_context_warns(const struct xy_tls_context *context, char why[XY_TLS_WHY_SIZE]);
/* Digests of the certificates in `ca` (DER), and how many. */
unsigned xy_tls_context_anchors(const struct xy_tls_context *context,
				const uint8_t (**ret_digests)[XY_TLS_DIGEST]);

/* ---- connections ----------------------------------------------------------------------------- */

/* `host`: of a client, whom the certificate must name: a DNS name, or an address without brackets;
 * NULL with a server's context. NULL: out of memory. */
struct xy_tls *xy_tls_new(struct xy_tls_context *context, int fd, const char *host);
void xy_tls_free(struct xy_tls *tls); /* without a word; NULL is fine */

/* 0: done (calling it again does nothing). -EAGAIN: see xy_tls_waits(). Else it has failed; an
 * alert may have been sent. -EPROTO: the two cannot agree, or a certificate is no good;
 * -ECONNABORTED: the other side hung up; -EFBIG: more than XY_TLS_HANDSHAKE, or a message of more
 * than 16 KiB; -ENOMEM; what the socket said. */
int xy_tls_handshake(struct xy_tls *tls);
/* After -EAGAIN of a handshake: EPOLLIN, EPOLLOUT or both. */
uint32_t xy_tls_waits(const struct xy_tls *tls);

/* Bytes, of one record at most; 0: the other side has said that it sends no more. -EAGAIN; -EPROTO:
 * not what it sent, or records without end that carry no data; -ECONNABORTED: its stream was cut,
 * nobody said that it is over; -ENOMEM; what the socket said. After an error every call fails, with
 * the same. With TLS 1.3 a client hears here first that its certificate was refused (-EPROTO). */
ssize_t xy_tls_recv(struct xy_tls *tls, void *buffer, size_t size);
/* Whether xy_tls_recv() may have something that readiness does not tell of. */
bool xy_tls_pending(const struct xy_tls *tls);

/* Bytes taken, of one record (XY_TLS_PLAIN) at most; -EAGAIN: none, the socket has not taken what
 * was taken before, or it is stalled; errors as above. What the socket says against sending leaves
 * receiving be. */
ssize_t xy_tls_send(struct xy_tls *tls, const struct iovec *iov, int count);
/* 0: the socket has everything; -EAGAIN: not yet; errors as above. */
int xy_tls_flush(struct xy_tls *tls);
/* A part of a message of the handshake (a ticket, a change of keys) has come, in a record that ends
 * within it: nothing is sent before the rest has. */
bool xy_tls_stalled(const struct xy_tls *tls);
size_t xy_tls_unsent(const struct xy_tls *tls); /* bytes, encrypted */
/* Nothing more will be sent: says so to the other side, behind what is unsent; as xy_tls_flush().
 * Receiving goes on. Idempotent. The caller may shutdown(2) when it has returned 0. */
int xy_tls_close(struct xy_tls *tls);

/* After any error but -EAGAIN: a sentence for people. */
void xy_tls_why(const struct xy_tls *tls, char why[XY_TLS_WHY_SIZE]);

/* What that means, of those that somebody can do something about. */
enum xy_tls_cause {
	XY_TLS_CAUSE_OTHER = 0,
	XY_TLS_CAUSE_NOT_TLS,   /* the other side speaks something else */
	XY_TLS_CAUSE_UNTRUSTED, /* its certificate leads to nobody whom we trust */
	XY_TLS_CAUSE_NAME,      /* … is another host's */
	XY_TLS_CAUSE_TIME,      /* … is not valid yet, or not any more */
	XY_TLS_CAUSE_REFUSED,   /* it wants a certificate of ours, or a better one */
};
enum xy_tls_cause xy_tls_cause(const struct xy_tls *tls);

/* Bytes of memory: that it has for as long as it lives, the same after the handshake; and in
 * buffers just now. */
size_t xy_tls_memory(const struct xy_tls *tls);
size_t xy_tls_buffers(const struct xy_tls *tls);

/* ---- after the handshake --------------------------------------------------------------------- */

/* The peer's certificate, which was verified. */
struct xy_tls_peer {
	char name[XY_TLS_NAME_MAX + 1];
	uint8_t anchor[XY_TLS_DIGEST]; /* which of `ca` it led to */
};

/* Its name is the first subjectAltName that is a DNS name, a URI or a mail address; without any
 * such, the last commonName of the subject. 0; -ENOENT: it has shown none; -EINVAL: the certificate
 * has no such name, or one that is too long or has a zero in it; -ENOMEM. */
int xy_tls_peer(const struct xy_tls *tls, struct xy_tls_peer *ret_peer);
/* Like "TLSv1.3" and "TLS_AES_256_GCM_SHA384"; static. */
const char *xy_tls_version(const struct xy_tls *tls);
const char *xy_tls_cipher(const struct xy_tls *tls);

#endif
