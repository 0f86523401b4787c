/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients die, stop, hang up and reset their connections at any moment, on lanes and off. Nobody
 * else notices: steady streams stay complete and in order without an error, and the proxy has back
 * what those clients had.
 *
 * Environment: SEED repeats a run's choices (the timing stays its own).
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/raw.h"
#include "common/sessions.h"
#include "e2e/steady.h"

#define VICTIMS  60
#define LIFE_MS  40 /* at most, before it happens */
#define MESSAGES 2000

static uint64_t random_state;
static pid_t victims[2]; /* that run */

static uint64_t chance(uint64_t below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (random_state >> 33) % below;
}

static void live_a_while(void)
{
	poll(NULL, 0, (int)chance(LIFE_MS));
}

/* ---- victims that are programs --------------------------------------------------------------- */

static pid_t victim_start(const char *const *argv)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int nowhere = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int fd = 0; fd <= 2; fd++)
			dup2(nowhere, fd);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	return pid;
}

static void victim_end(pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGKILL);
	waitpid(*pid, NULL, 0);
	*pid = 0;
}

/* A pair that talks to each other, and listens to the others; then one of them stops or dies, and
 * later the other. */
static void programs_die(struct proxy *proxy)
{
	static const char *const policies[] = {"drop-newest", "drop-oldest", "disconnect", "block"};
	bool local = chance(3) == 0, no_lane = chance(4) == 0;
	const char *server = local ? proxy_unix(proxy) : proxy_server(proxy);
	const char *const subscriber[] = {proxy_binary(),
					  "sub",
					  "--server",
					  server,
					  "--overflow",
					  policies[chance(4)],
					  "--stall",
					  "100ms",
					  "victim.a",
					  chance(2) ? STEADY_SUBJECTS : "victim.b",
					  no_lane ? "--no-lane" : NULL,
					  NULL};
	const char *const publisher[] = {proxy_binary(), "pub",      "--server", server, "--count",
					 "1000000000",   "victim.a", "text",     NULL};
	unsigned first = (unsigned)chance(2);

	victims[0] = victim_start(subscriber);
	victims[1] = victim_start(publisher);
	live_a_while();
	live_a_while();
	if (chance(2) == 0) {
		kill(victims[first], SIGSTOP);
		live_a_while();
		live_a_while();
		if (chance(2) == 0) {
			kill(victims[first], SIGCONT);
			live_a_while();
		}
	}
	victim_end(&victims[first]);
	live_a_while();
	victim_end(&victims[1 - first]);
}

/* ---- victims that are sockets ---------------------------------------------------------------- */

static void sockets_end(struct proxy *proxy)
{
	static const uint8_t payload[5000];
	struct raw *raw = chance(3) == 0 ? raw_connect_unix(proxy) : raw_connect(proxy);
	struct xy_frame data;
	uint8_t bytes[8192];
	size_t length;

	if (chance(8) != 0)
		raw_hello(raw, RAW_HELLO);
	if (raw->endpoint != 0 && chance(4) != 0) {
		raw_sync(raw);
		data = raw_header(raw, XY_DATA);
		data.target = raw_declare(raw, "victim.c");
		raw_subscribe(raw,
			      chance(2) ? "{\"subject\":\"steady.>\",\"overflow\":\"drop-newest\"}"
					: "{\"subject\":\"victim.c\"}");
		live_a_while();
		for (data.sequence = 1; data.sequence < 20; data.sequence++)
			raw_send_frame(raw, data, payload, chance(sizeof(payload)));
		if (chance(2) == 0) { /* in the middle of a frame */
			length = raw_put(bytes, data, payload, sizeof(payload));
			raw_send(raw, bytes, 1 + chance(length - 1));
		}
	}
	switch (chance(3)) {
	case 0:
		raw_reset(raw);
		break;
	case 1:
		shutdown(raw->fd, SHUT_WR);
		live_a_while();
		raw_close(raw);
		break;
	default:
		raw_close(raw);
	}
}

/* ---- the others ------------------------------------------------------------------------------ */

static void await_as_before(struct proxy *proxy, const struct sessions *sessions, unsigned used,
			    unsigned flows)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	proxy_wait_idle(proxy);
	while (sessions_used(sessions) != used || flows_used(proxy) != flows) {
		if (test_now_ms() > deadline)
			fail_msg("%u slots and %u flows are in use, %u and %u were before",
				 sessions_used(sessions), flows_used(proxy), used, flows);
		poll(NULL, 0, 2);
	}
}

static void test_nobody_notices_how_others_end(void **state)
{
	struct proxy *proxy = *state;
	struct sessions *sessions = sessions_open(proxy);
	unsigned used = sessions_used(sessions), flows = flows_used(proxy);
	const char *seed = getenv("SEED");

	if (seed != NULL)
		random_state = strtoull(seed, NULL, 0);
	else
		assert_int_equal(getrandom(&random_state, sizeof(random_state), 0),
				 sizeof(random_state));
	print_message("SEED=%#lx\n", (unsigned long)random_state);
	steady_start(proxy);
	steady_flow(MESSAGES);
	for (int victim = 0; victim < VICTIMS; victim++) {
		if (chance(2) == 0)
			programs_die(proxy);
		else
			sockets_end(proxy);
		steady_check();
	}
	steady_flow(MESSAGES);
	assert_int_equal(steady_finish(), 0);
	assert_int_equal(steady_errors(), 0);
	assert_int_equal(steady_reconnects(), 0);
	await_as_before(proxy, sessions, used, flows);
	sessions_close(sessions);
}

static int teardown(void **state)
{
	victim_end(&victims[0]);
	victim_end(&victims[1]);
	steady_abandon();
	return proxy_test_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_nobody_notices_how_others_end, teardown),
	};

	return proxy_run_both(tests, NULL);
}
