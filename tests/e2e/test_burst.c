/* SPDX-License-Identifier: BSD-2-Clause */
/* What a burst needed is back with the system soon after it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/footprint.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"

#define PAIRS    48
#define MESSAGES 24
#define BYTES    (32u << 10)
#define MIB      (1ull << 20)

/* What each pipe takes before its publisher is not read any more. */
#define HELD        ((uint64_t)PAIRS * (256u << 10))
/* What loops keep for rare traffic (four segments each), and what the rest of the proxy may grow by
 * while it serves a burst. */
#define KEPT(loops) ((uint64_t)(loops)*4 * (64u << 10))
#define GROWN       (2 * MIB)

static struct raw *publisher[PAIRS], *subscriber[PAIRS];
static uint64_t topic[PAIRS];

static uint64_t pool_bytes(const struct proxy *proxy, size_t *ret_loops)
{
	json_t *status = status_take(proxy), *loop;
	uint64_t bytes = status_number(status, "pool_bytes");
	size_t i;

	*ret_loops = 0;
	json_array_foreach(json_object_get(status, "loops"), i, loop) *ret_loops +=
		json_object_get(loop, "cached_segments") != NULL;
	json_decref(status);
	return bytes;
}

/* Sanitizers keep memory of their own for what was used once. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RESIDENT_TELLS false
#else
#define RESIDENT_TELLS true
#endif

static void pairs_open(struct proxy *proxy)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		char subject[32], json[96];

		snprintf(subject, sizeof(subject), "burst.%u", i);
		/* Nobody is closed for being slow, however long this machine takes. */
		snprintf(json, sizeof(json), "{\"subject\":\"%s\",\"stall_ms\":60000}", subject);
		/* Without a lane, so that a backlog is in the proxy and not in the kernel. */
		subscriber[i] = raw_open_unix(proxy);
		raw_subscribe(subscriber[i], json);
		publisher[i] = raw_open(proxy);
		topic[i] = raw_declare(publisher[i], subject);
	}
}

static void pairs_publish(unsigned messages)
{
	static uint8_t buffer[XY_FRAME_MAX], payload[BYTES];

	for (unsigned i = 0; i < PAIRS; i++) {
		memset(payload, (int)i, sizeof(payload));
		for (unsigned m = 1; m <= messages; m++) {
			struct xy_frame frame = raw_header(publisher[i], XY_DATA);

			frame.target = topic[i];
			raw_send(publisher[i], buffer,
				 raw_put(buffer, frame, payload, sizeof(payload)));
		}
	}
}

static void pairs_read(unsigned messages)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		for (unsigned m = 0; m < messages; m++) {
			const struct raw_frame *got = raw_expect_data(subscriber[i]);

			assert_int_equal(got->length, BYTES);
			assert_int_equal(got->payload[0], i);
			assert_int_equal(got->payload[BYTES - 1], i);
		}
	}
}

static void test_memory_of_a_burst_goes_back(void **state)
{
	struct proxy *proxy = *state;
	uint64_t deadline, base, resident, pools;
	size_t loops;

	pairs_open(proxy);
	/* Whatever a connection needs at its first message is part of the base. */
	pairs_publish(1);
	pairs_read(1);
	base = footprint_memory(proxy);

	pairs_publish(MESSAGES);
	deadline = test_now_ms() + TEST_TIMEOUT_MS;
	while (pool_bytes(proxy, &loops) < HELD) {
		if (test_now_ms() > deadline)
			fail_msg("the burst is not in the proxy's pipes");
	}
	assert_true(footprint_memory(proxy) >= base + HELD - KEPT(loops));

	pairs_read(MESSAGES);
	deadline = test_now_ms() + TEST_TIMEOUT_MS;
	while ((pools = pool_bytes(proxy, &loops)) > KEPT(loops) ||
	       ((resident = footprint_memory(proxy)) > base + KEPT(loops) + GROWN &&
		RESIDENT_TELLS)) {
		if (test_now_ms() > deadline)
			fail_msg("%llu KiB in pools, %llu KiB resident, %llu before the burst",
				 (unsigned long long)pools >> 10,
				 (unsigned long long)footprint_memory(proxy) >> 10,
				 (unsigned long long)base >> 10);
	}
	print_message("resident: %llu KiB before the burst, %llu after\n",
		      (unsigned long long)base >> 10, (unsigned long long)resident >> 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		proxy_test(test_memory_of_a_burst_goes_back),
	};

	return proxy_run_both(tests, NULL);
}
