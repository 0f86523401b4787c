/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A proxy with a memory budget, looked at while publishers flood it. The tests run alone, because
 * the kernel tells the memory of TCP for the whole machine only.
 */
#ifndef TEST_BUDGET_FIXTURE_H
#define TEST_BUDGET_FIXTURE_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/footprint.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"

#define MIB    (1ull << 20)
#define BUDGET (16 * MIB)
#define SMALL  (4 * MIB)
#define SLACK  (BUDGET / 4) /* what arrives in one check interval, and the allocator's own */
#define STALL  "3000"       /* ms */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEASURES 0 /* a sanitizer's memory says nothing about ours */
#else
#define MEASURES 1
#endif

/* ---- looking --------------------------------------------------------------------------------- */

static inline bool pressed(const struct proxy *proxy)
{
	json_t *status = status_take(proxy);
	bool is = json_is_true(json_object_get(json_object_get(status, "memory"), "pressed"));

	json_decref(status);
	return is;
}

/* Of all TCP sockets of the machine. */
static inline uint64_t tcp_memory(void)
{
	unsigned long long pages = 0;
	char line[256], *at;
	FILE *file = fopen("/proc/net/sockstat", "re");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "TCP:", 4) == 0 && (at = strstr(line, " mem ")) != NULL)
			pages = strtoull(at + 5, NULL, 10);
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

struct watch {
	const struct proxy *proxy;
	uint64_t resident, tcp; /* at the beginning */
	uint64_t resident_most; /* more than then */
};

static inline struct watch watch_begin(const struct proxy *proxy)
{
	return (struct watch){
		.proxy = proxy, .resident = footprint_memory(proxy), .tcp = tcp_memory()};
}

static inline void watch_look(struct watch *watch)
{
	uint64_t now = footprint_memory(watch->proxy);

	now -= now < watch->resident ? now : watch->resident;
	if (now > watch->resident_most)
		watch->resident_most = now;
	assert_in_range(status_memory(watch->proxy, "used"), 0, BUDGET + SLACK);
}

static inline void watch_end(const struct watch *watch, const char *what)
{
	uint64_t high = status_memory(watch->proxy, "high"), tcp = UINT64_MAX;

	/* Others use TCP too, but not always: the least of some looks counts. */
	for (unsigned n = 0; n < 50; n++) {
		uint64_t now = tcp_memory();

		now -= now < watch->tcp ? now : watch->tcp;
		tcp = now < tcp ? now : tcp;
		poll(NULL, 0, 10);
	}
	print_message("%s: resident +%llu KiB, TCP +%llu KiB, used at most %llu KiB\n", what,
		      (unsigned long long)watch->resident_most >> 10, (unsigned long long)tcp >> 10,
		      (unsigned long long)high >> 10);
	assert_in_range(high, 0, BUDGET + SLACK);
	assert_in_range(tcp, 0, BUDGET + SLACK);
	if (MEASURES)
		assert_in_range(watch->resident_most, 0, BUDGET + SLACK);
}

/* ---- a client that publishes, and one that never reads --------------------------------------- */

static inline struct raw *deaf_open(struct proxy *proxy, const char *subject, const char *policy)
{
	struct raw *raw = raw_open(proxy);
	int small = 16 << 10; /* what its own side may take is not the proxy's memory */
	char json[256];

	assert_int_equal(setsockopt(raw->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	snprintf(json, sizeof(json),
		 "{\"subject\":\"%s\",\"overflow\":\"%s\",\"stall_ms\":" STALL "}", subject,
		 policy);
	raw_subscribe(raw, json);
	return raw;
}

/* Frames of the largest size, whole, as far as the socket takes them. */
struct flood {
	struct raw *raw;
	uint64_t topic, sequence;
	size_t unsent; /* of the frame under way */
	uint8_t frame[XY_FRAME_MAX];
};

static inline void flood_begin(struct flood *flood, struct raw *raw, const char *subject)
{
	flood->raw = raw;
	flood->topic = raw_declare(raw, subject);
	flood->sequence = 0;
	flood->unsent = 0;
}

/* Sends one frame, or what is left of it; false: not whole, the socket is full. */
static inline bool flood_one(struct flood *flood, size_t length)
{
	static const uint8_t payload[XY_PAYLOAD_MAX];
	struct xy_frame frame = raw_header(flood->raw, XY_DATA);
	ssize_t sent;

	if (flood->unsent == 0) {
		frame.target = flood->topic;
		frame.sequence = ++flood->sequence;
		flood->unsent = raw_put(flood->frame, frame, payload, length);
	}
	length += XY_HEADER_SIZE;
	sent = raw_send_some(flood->raw, flood->frame + length - flood->unsent, flood->unsent);
	if (sent < 0 && (errno == EAGAIN || errno == ENOMEM))
		return false;
	assert_true(sent > 0);
	flood->unsent -= (size_t)sent;
	return flood->unsent == 0;
}

/* Reads what the proxy says, and follows none of it. */
static inline void take(struct raw *raw)
{
	while (raw_read(raw, 0) == RAW_FRAME)
		;
}

/* A healthy pair, in step. */
struct pair {
	struct raw *publisher, *subscriber;
	uint64_t topic, sequence;
};

static inline void pair_open(struct pair *pair, struct proxy *proxy)
{
	pair->publisher = raw_open(proxy);
	pair->subscriber = raw_open(proxy);
	raw_subscribe_to(pair->subscriber, "healthy");
	pair->topic = raw_declare(pair->publisher, "healthy");
	pair->sequence = 0;
}

static inline void pair_turn(struct pair *pair)
{
	char text[32];

	snprintf(text, sizeof(text), "message %llu", (unsigned long long)++pair->sequence);
	raw_publish(pair->publisher, pair->topic, pair->sequence, text);
	raw_expect_text(pair->subscriber, text);
}

static inline uint64_t deadline_after(unsigned ms)
{
	return test_now_ms() + ms;
}

#endif
