/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client that speaks the protocol by hand: any bytes out, one frame at a time in.
 *
 * Every function fails the running cmocka test when it cannot do what it says. Waits end after
 * TEST_TIMEOUT_MS. PINGs of the proxy are answered and SYNC_WANTED is noted while a frame is
 * awaited, unless that is the frame awaited. All clients of a test are closed by raw_close_all().
 */
#ifndef TEST_RAW_H
#define TEST_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/proxy.h"
#include "proto/frame.h"
#include "proto/json.h"

#define RAW_BINDINGS_MAX 64

struct raw_frame {
	struct xy_frame header;
	size_t length;                       /* of the payload */
	uint8_t payload[XY_PAYLOAD_MAX + 1]; /* a zero follows */
};

struct raw_binding {
	uint64_t topic;
	bool by_binding; /* told by BINDING, which must come once; the answer to DECLARE tells too
			  */
	char subject[XY_SUBJECT_MAX + 1];
};

struct raw {
	int fd;
	struct ssl_st *ssl; /* OpenSSL's, when it speaks TLS (secure.h) */
	bool cut;           /* with TLS: its stream ended without a word */
	uint64_t endpoint;  /* 0 before WELCOME */
	struct xy_welcome welcome;
	bool lane; /* as the last SYNCED said */
	unsigned sync_wanted;
	uint64_t syncs, correlation, consumed, acked;
	struct raw_binding bound[RAW_BINDINGS_MAX]; /* topics that this client was told of */
	unsigned bound_count;
	bool may_tear; /* a stream that ends within a frame is an end like any other */
	bool silent;   /* leave PINGs unanswered, ack nothing unasked */
	struct raw_frame frame;
	size_t filled;
	uint8_t buffer[XY_FRAME_MAX];
	struct raw *next;
};

/* ---- connections ----------------------------------------------------------------------------- */

struct raw *raw_connect(const struct proxy *proxy);      /* TCP; nothing is sent */
struct raw *raw_connect_port(uint16_t port);             /* another one on this machine */
struct raw *raw_connect_unix(const struct proxy *proxy); /* nothing is sent */
void raw_close(struct raw *raw);
void raw_reset(struct raw *raw); /* closes with RST */
/* Says GOODBYE, drops what still comes, and closes when the proxy has closed. */
void raw_leave(struct raw *raw);
void raw_close_all(void);

#define RAW_HELLO "{\"name\":\"raw\",\"ack\":true}"
/* Sends HELLO with this payload and awaits WELCOME. */
void raw_hello(struct raw *raw, const char *json);
/* Sends SYNC and awaits SYNCED. */
void raw_sync(struct raw *raw);
/* TCP, HELLO, SYNC; on a lane if and only if the kernel path is on. */
struct raw *raw_open(const struct proxy *proxy);
/* The UNIX listener, HELLO, SYNC: never a lane. */
struct raw *raw_open_unix(const struct proxy *proxy);

/* ---- out ------------------------------------------------------------------------------------- */

/* A header of this client: version, type, source and ack are set. */
struct xy_frame raw_header(const struct raw *raw, uint8_t type);
/* Writes a frame to buffer (its length is set) and returns its size. */
size_t raw_put(void *buffer, struct xy_frame frame, const void *payload, size_t length);
/* All of it, waiting for room as needed. */
void raw_send(struct raw *raw, const void *data, size_t length);
/* As much as there is room for; -1 with errno as send(2). What was not sent must be tried again. */
ssize_t raw_send_some(struct raw *raw, const void *data, size_t length);
/* As raw_send, but returns false when the proxy has closed the connection. */
bool raw_try_send(struct raw *raw, const void *data, size_t length);
/* Sets the length and sends. */
void raw_send_frame(struct raw *raw, struct xy_frame frame, const void *payload, size_t length);
/* A frame of this type that carries nothing but text; answered with OK. Returns OK's target. */
uint64_t raw_request(struct raw *raw, uint8_t type, uint64_t target, const char *payload);
uint64_t raw_declare(struct raw *raw, const char *subject);
uint64_t raw_subscribe(struct raw *raw, const char *json);
uint64_t raw_subscribe_to(struct raw *raw, const char *subject); /* plain, all defaults */
void raw_publish(struct raw *raw, uint64_t topic, uint64_t sequence, const char *text);

/* ---- in -------------------------------------------------------------------------------------- */

enum raw_result { RAW_FRAME, RAW_CLOSED, RAW_TIMEOUT };
/* The next frame, whatever it is; it is in raw->frame. Answers and notes nothing. */
enum raw_result raw_read(struct raw *raw, uint64_t timeout_ms);
/* Answers the frame just read if it is a PING; the second as if it had consumed `ack` bytes. Any
 * other frame: an ACK with that. */
void raw_answer(struct raw *raw);
void raw_answer_with(struct raw *raw, uint64_t ack);
/* The next frame is of this type. Valid until the next frame is read. */
const struct raw_frame *raw_expect(struct raw *raw, uint8_t type);
/* The next DATA; it must be DIRECT, or of a topic that this client has been told of. */
const struct raw_frame *raw_expect_data(struct raw *raw);
/* The next DATA has this text as its payload. */
void raw_expect_text(struct raw *raw, const char *text);
/* The next frame is ERROR with this code, from the proxy, with a message; and the connection is
 * closed after it if and only if the code says so. */
const struct raw_frame *raw_expect_error(struct raw *raw, enum xy_error error);
/* Nothing but the end of the stream (or RST) follows. */
void raw_expect_closed(struct raw *raw);
/* Reads on, whatever comes, until the stream ends. */
void raw_drain(struct raw *raw);
/* The sender has sent a message to the receiver's endpoint, and this is the receiver's next DATA:
 * by the order of one source nothing else of that sender is on its way. */
void raw_expect_fence(struct raw *receiver, struct raw *sender);
/* The two halves, for tests that read by themselves. */
void raw_send_fence(struct raw *receiver, struct raw *sender);
bool raw_is_fence(const struct raw_frame *frame);
/* The next frame is the answer to a PING. Control frames may overtake DATA, so that this proves the
 * absence of ERROR and not of DATA. */
void raw_expect_silence(struct raw *raw);

#endif
