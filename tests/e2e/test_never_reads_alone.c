/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory budget and one subscriber that never reads: whatever its policy, messages of 64 KiB
 * for it stay within the budget, in the proxy and in the kernel.
 */
#include "e2e/budget_fixture.h"

/* ---- one publisher, one subscriber that never reads ------------------------------------------ */

/* True when everything was sent, false when it could not go on for a second. */
static bool flood_all(struct flood *flood, struct watch *watch, unsigned frames, size_t length)
{
	uint64_t last = test_now_ms(), look = 0;

	while (flood->sequence < frames || flood->unsent != 0) {
		uint64_t now = test_now_ms();

		take(flood->raw);
		if (flood_one(flood, length))
			last = now;
		else
			poll(&(struct pollfd){.fd = flood->raw->fd, .events = POLLOUT}, 1, 10);
		if (now - last > 1000)
			return false;
		if (now >= look) {
			watch_look(watch);
			look = test_now_ms() + 100;
		}
	}
	return true;
}

static void policy_stays_within(struct proxy *proxy, const char *policy, bool goes_on)
{
	enum { FRAMES = 1024 };
	struct raw *publisher = raw_open(proxy), *subscriber;
	struct watch watch = watch_begin(proxy);
	static struct flood flood;
	char subject[64], json[256];

	snprintf(subject, sizeof(subject), "policy.%s.%d", policy, goes_on);
	subscriber = raw_open(proxy);
	/* Of the blocking kind one is closed in time, the other not in this test. */
	snprintf(json, sizeof(json), "{\"subject\":\"%s\",\"overflow\":\"%s\",\"stall_ms\":%s}",
		 subject, policy, goes_on ? "400" : "60000");
	raw_subscribe(subscriber, json);
	flood_begin(&flood, publisher, subject);
	assert_int_equal(flood_all(&flood, &watch, FRAMES, XY_PAYLOAD_MAX), goes_on);
	watch_look(&watch);
	watch_end(&watch, policy);
}

static void test_a_subscriber_that_never_reads_stays_within_the_budget(void **state)
{
	policy_stays_within(*state, "drop-newest", true);
	policy_stays_within(*state, "drop-oldest", true);
	policy_stays_within(*state, "disconnect", true);
	policy_stays_within(*state, "block", true);
	policy_stays_within(*state, "block", false);
}

int main(void)
{
	static const char *const sixteen[] = {"--memory-budget", "16M", NULL};
	const struct CMUnitTest tests[] = {
		proxy_test(test_a_subscriber_that_never_reads_stays_within_the_budget),
	};

	return proxy_run_both(tests, sixteen);
}
