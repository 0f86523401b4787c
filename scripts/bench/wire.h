/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client for benches that have thousands of connections in one thread: it keeps no buffer, waits
 * for what it asks, and counts what it gets. Anything unexpected ends the program.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xylem/wire.h>

struct wire {
	int fd;
	uint64_t endpoint, window;
	bool lane;
	uint64_t consumed, acked;    /* bytes since WELCOME */
	uint64_t syncs, correlation; /* the last ones */
	uint64_t synced;             /* correlation of the last SYNCED */
	uint64_t oks, ok_target;     /* answers got, and what the last one told */
	uint64_t *targets;           /* NULL, or what each of them told */
	uint64_t data;               /* DATA frames got … */
	uint64_t last;               /* … the last one's number … */
	uint64_t ordered;            /* … and how many came in order */
};

void die(const char *what, const char *why) __attribute__((noreturn));
uint64_t now_ns(void);

/* Connects to 127.0.0.1, HELLO, SYNC. */
void wire_open(struct wire *wire, uint16_t port);
void wire_close(struct wire *wire);

/* SUBSCRIBE to a subject, DECLARE, …; returns the target of OK. */
uint64_t wire_subscribe(struct wire *wire, const char *subject);
uint64_t wire_declare(struct wire *wire, const char *subject);
/* Sends a request and waits only when many are under way; wire->oks counts the answers. */
void wire_ask(struct wire *wire, enum xy_type type, uint64_t target, const char *payload);
void wire_ask_subscribe(struct wire *wire, const char *subject);
void wire_answered(struct wire *wire); /* until all are */
void wire_sync(struct wire *wire);

/* `frames` DATA frames of `size` bytes of payload (at least 8) in one send, numbered from `first`
 * on. */
void wire_publish(struct wire *wire, uint64_t target, uint64_t first, unsigned frames, size_t size);
/* Reads until so many DATA frames in all have come, acking. */
void wire_receive(struct wire *wire, uint64_t data);
/* Reads what is there. */
void wire_drain(struct wire *wire);

#endif
