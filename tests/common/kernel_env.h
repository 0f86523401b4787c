/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel side with real sockets and real programs: this process plays the proxy and its
 * clients. Each wait ends with its condition, or after a long time with a failed test. One thread,
 * unless a function says otherwise.
 */
#ifndef TEST_KERNEL_ENV_H
#define TEST_KERNEL_ENV_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <xylem/wire.h>

#include "kernel/kernel.h"
#include "kernel/session.h"

#define ENV_WINDOW  (1u << 20)
#define ENV_TIMEOUT 20000 /* ms */

struct env_options {
	const char *address; /* to listen on; NULL = 127.0.0.1 */
	bool wildcard;       /* tell the kernel side of a wildcard listener of the same family */
	uint32_t slots, flows;
	uint64_t window, max_message;
	bool trial; /* the kernel side tries its lanes first */
};

struct env {
	struct xy_kernel *kernel;
	struct xy_control *control;
	struct sockaddr_storage address; /* of the listener */
	socklen_t address_length;
	int listener;
	uint64_t endpoints; /* given so far */
};

/* A connection, seen from both sides. */
struct client {
	int fd;    /* the client's socket */
	int proxy; /* the proxy's end */
	uint64_t endpoint;
	struct xy_slot slot;
	struct xy_session *session;
	uint64_t correlation; /* of the last SYNC */
};

/* Header fields of a frame, host order; zero means the obvious: a whole valid one. */
struct frame {
	uint8_t type;     /* XY_DATA */
	uint8_t version;  /* XY_WIRE_VERSION */
	uint32_t length;  /* XY_HEADER_SIZE + payload */
	uint32_t payload; /* bytes that follow the header */
	uint16_t flags, fragment, fragments;
	uint64_t target, source, sequence, ack, correlation;
};

/* Skips the running test with the reason when programs cannot be loaded here (fails it under CI),
 * else opens an environment, which is as new: programs and maps may be those of a test before. */
struct env *env_open(const struct env_options *options);
/* A heartbeat that outlasts the test, on however slow a machine; env_open() gives one. */
void env_beat(struct env *env);
void env_close(struct env *env);
void env_end(struct env *env); /* closes the kernel side, too: no other test gets it */

/* ---- clients ---- */

/* Connects; the proxy has accepted, and no claim is out. */
void client_connect(struct env *env, struct client *client);
/* Gives it an endpoint and a claim: as after WELCOME. */
void client_welcome(struct env *env, struct client *client);
/* The client sends a SYNC, and the proxy reads it and deletes the claim. */
void client_sync(struct env *env, struct client *client);
/* The proxy makes it a lane and answers SYNCED, which the client reads. */
void client_adopt(struct env *env, struct client *client);
/* All of the above. */
void client_open(struct env *env, struct client *client);
/* Later SYNCs of a lane: sent, read, answered, read. */
void client_resync(struct client *client);
/* Closes both sides and runs the slot to its end. */
void client_close(struct env *env, struct client *client);

/* ---- frames ---- */

#define FRAME(...) (&(const struct frame){__VA_ARGS__})

/* Builds a frame whose payload depends on source and sequence; returns its bytes. */
size_t frame_put(void *to, const struct frame *frame);
struct frame frame_get(const void *header);
/* Whether a whole frame is one that frame_put() makes. Any thread. */
bool frame_intact(const void *whole);

/* ---- sockets ---- */

void send_all(int fd, const void *data, size_t size);              /* in one send */
void send_frame(struct client *client, const struct frame *frame); /* source is filled in */
void receive_all(int fd, void *to, size_t size);
struct frame receive_frame(int fd); /* checks that it is intact */
void assert_silent(int fd);         /* nothing to read */
void assert_readable(int fd);       /* waits for it */

/* ---- flows ---- */

void flow_put(struct env *env, const struct client *from, uint64_t target,
	      const struct client *const *members, uint32_t count);
void flow_to(struct env *env, const struct client *from, uint64_t target, const struct client *to);
struct xy_flow_key flow_key(const struct client *from, uint64_t target);

/* ---- counters ---- */

/* What client_verdict has counted of a client. */
struct counts {
	uint64_t frames, bytes, sends, passed, reasons[XY_REASON_SLOTS];
	uint64_t barrier_out;
};

struct counts counts_of(const struct client *client);
/* Exactly this has happened since. */
void assert_redirected(const struct client *client, const struct counts *since, uint32_t frames);
void assert_passed(const struct client *client, const struct counts *since, enum xy_reason reason,
		   uint32_t frames);
const char *reason_text(enum xy_reason reason);

#endif
