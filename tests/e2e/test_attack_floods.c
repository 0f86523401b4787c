/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attackers who want so much that nothing is left for others: of the proxy's memory, its time, its
 * connections, or of another client's buffers. Each is bounded, told so, or not read any more.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/status.h"
#include "common/thread.h"
#include "e2e/attack_fixture.h"

#define CONNECTIONS     64 /* --max-connections */
#define CONNECTIONS_TXT "64"
#define MOST            (32u << 20) /* bytes of a flood, far beyond what may be taken of it */
#define TURN            (256u << 10)
#define CROWD           (1u << 20)
#define CONTROL         (64u << 10)
#define FRAME_BYTES     30000
#define LENGTH(a)       (sizeof(a) / sizeof((a)[0]))

static uint64_t held(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take(proxy);
	uint64_t bytes = status_number(status_connection(status, raw), "queued_bytes");

	json_decref(status);
	return bytes;
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* It knows the endpoints of others, from their messages. */
static void test_a_flood_of_direct_messages_is_bounded(void **state)
{
	struct raw *victim = raw_open(*state), *friend = raw_open(*state);
	struct raw *attacker[2] = {raw_open(*state), raw_open_unix(*state)};
	static uint8_t bytes[2][FRAME_BYTES], payload[FRAME_BYTES];
	struct sessions *sessions = sessions_open(*state);
	const struct xy_session *session = sessions_of(sessions, victim->endpoint);
	uint64_t topic, most;
	bool heard = false;

	raw_subscribe(victim, "{\"subject\":\"friends\",\"stall_ms\":600000}");
	topic = raw_declare(friend, "friends");
	victim->silent = true;
	for (size_t a = 0; a < LENGTH(attacker); a++) {
		struct xy_frame data = raw_header(attacker[a], XY_DATA);

		data.flags = XY_DIRECT;
		data.target = victim->endpoint;
		raw_put(bytes[a], data, payload, FRAME_BYTES - XY_HEADER_SIZE);
		raw_send(attacker[a], bytes[a], FRAME_BYTES);
		raw_sync(attacker[a]);
	}
	for (size_t a = 0; a < LENGTH(attacker); a++)
		assert_true(attack_flood(attacker[a], bytes[a], FRAME_BYTES, MOST) < MOST);
	most = held(*state, victim);
	print_message("%lu bytes held\n", (unsigned long)most);
	assert_in_range(most, 0, CROWD + LENGTH(attacker) * TURN);
	if (session)
		assert_in_range(xy_session_outstanding(session), 0,
				victim->welcome.window + 2 * CONTROL + CONTROL);
	/* There is still room for what its friend says. */
	raw_publish(friend, topic, 1, "hello");
	neighbours_exchange(20);
	victim->silent = false;
	while (!heard) {
		const struct raw_frame *data = raw_expect_data(victim);

		heard = data->header.source == friend->endpoint;
		if (!heard)
			assert_int_equal(data->length, FRAME_BYTES - XY_HEADER_SIZE);
	}
	assert_string_equal((const char *)victim->frame.payload, "hello");
	sessions_close(sessions);
	neighbours_unharmed(0);
}

/* To one that reads: it gets them all, and its own messages among them. */
static void test_who_reads_gets_its_own_messages_through_a_flood(void **state)
{
	enum { FRAMES = 600 };
	struct raw *attacker = raw_open(*state);
	static uint8_t bytes[FRAME_BYTES], payload[FRAME_BYTES];
	struct xy_frame data = raw_header(attacker, XY_DATA);
	size_t size;

	data.flags = XY_DIRECT;
	data.target = xy_client_endpoint(neighbours.subscriber);
	size = raw_put(bytes, data, payload, FRAME_BYTES - XY_HEADER_SIZE);
	for (int i = 0; i < FRAMES; i++) {
		raw_send(attacker, bytes, size);
		if (i % 100 == 0)
			neighbours_exchange(1);
	}
	neighbours_unharmed(0);
	assert_true(atomic_load(&neighbours.directs) > FRAMES / 2);
}

/* Each SYNC is answered; one that does not read the answers is not read either. */
static void test_a_flood_of_syncs_is_not_read_on(void **state)
{
	struct raw *attacker = raw_open(*state), *reader = raw_open(*state);
	struct xy_frame sync = raw_header(attacker, XY_SYNC);
	uint8_t bytes[64 * XY_HEADER_SIZE];
	size_t size = 0;

	for (int i = 0; i < 64; i++) {
		sync.correlation = (uint64_t)i + 2;
		size += raw_put(bytes + size, sync, NULL, 0);
	}
	assert_true(attack_flood(attacker, bytes, size, MOST) < MOST);
	assert_in_range(held(*state, attacker), 0, CROWD);
	/* One that reads them gets each answered in its turn. */
	for (int i = 0; i < 2000; i++)
		raw_sync(reader);
	neighbours_unharmed(0);
}

/* As much work for the router as it gets, which stands still meanwhile: what waits for it is
 * bounded, and what needs no router goes on. */
static void test_a_flood_of_subscriptions_is_not_read_on(void **state)
{
	static const char json[] = "{\"subject\":\"attack.>\",\"overflow\":\"drop-newest\"}";
	struct raw *attacker = raw_open(*state);
	struct xy_frame subscribe = raw_header(attacker, XY_SUBSCRIBE);
	uint8_t bytes[256];
	size_t size;
	pid_t router;
	uint64_t taken;

	subscribe.correlation = 1;
	size = raw_put(bytes, subscribe, json, strlen(json));
	router = thread_stop(proxy_pid(*state), "router");
	taken = attack_flood(attacker, bytes, size, MOST / 2);
	neighbours_exchange(20);
	thread_go(router);
	print_message("%lu bytes of requests taken\n", (unsigned long)taken);
	assert_true(taken < MOST / 2);
	neighbours_exchange(20);
	/* All it has asked for goes with it. */
	raw_reset(attacker);
	neighbours_unharmed(0);
}

/* New subjects below what the neighbour subscribes to: it is told of each, and of its own. */
static void test_a_flood_of_subjects_leaves_others_their_own(void **state)
{
	enum { SUBJECTS = 3000, AT_ONCE = 200 };
	struct raw *attacker = raw_open(*state);
	unsigned asked = 0, answered = 0;
	char subject[64];

	while (answered < SUBJECTS) {
		while (asked < SUBJECTS && asked - answered < AT_ONCE) {
			struct xy_frame declare = raw_header(attacker, XY_DECLARE);

			declare.correlation = ++asked;
			snprintf(subject, sizeof(subject), "neighbours.attack.%u", asked);
			raw_send_frame(attacker, declare, subject, strlen(subject));
		}
		raw_expect(attacker, XY_OK);
		answered++;
	}
	neighbours_exchange(20);
	raw_close(attacker);
	neighbours_unharmed(0);
}

/* ---- messages that are not what they say ----------------------------------------------------- */

struct lie {
	uint16_t flags, fragment, fragments;
	uint64_t sequence;
	const char *payload;
	size_t length;
};

/* Valid frames, each for itself; none of them is, or completes, a message. */
static void test_fragments_and_bundles_that_lie_become_no_messages(void **state)
{
	static const struct lie lies[] = {
		/* The beginning of one message, the end of another … */
		{0, 0, 2, 1, "begun", 5},
		{0, 1, 2, 2, "another's end", 13},
		/* … of another length … */
		{0, 0, 3, 3, "begun", 5},
		{0, 1, 2, 3, "shorter", 7},
		/* … the same part twice, then one left out … */
		{0, 0, 3, 4, "begun", 5},
		{0, 0, 3, 4, "begun", 5},
		{0, 2, 3, 4, "end", 3},
		/* … and one that would be as long as there may be, and ends here. */
		{0, 0, 1025, 5, "begun", 5},
		/* Bundles: longer than they are, with half a length, with something behind. */
		{XY_BUNDLE, 0, 0, 6, "\0\0\0\x10short", 9},
		{XY_BUNDLE, 0, 0, 7, "\xff\xff\xff\xffshort", 9},
		{XY_BUNDLE, 0, 0, 8, "\0\0", 2},
		{XY_BUNDLE, 0, 0, 9, "\0\0\0\1ab", 6},
		/* A checksum of something else. */
		{XY_CRC, 0, 0, 10, "text\1\2\3\4", 8},
	};
	struct raw *attacker[2] = {raw_open(*state), raw_open_unix(*state)};

	for (size_t a = 0; a < LENGTH(attacker); a++) {
		uint64_t topic = raw_declare(attacker[a], "neighbours.lies");

		raw_publish(attacker[a], topic, 0, "uncounted, and as it should be");
		raw_sync(attacker[a]);
		for (size_t l = 0; l < LENGTH(lies); l++) {
			struct xy_frame data = raw_header(attacker[a], XY_DATA);

			data.target = topic;
			data.flags = lies[l].flags;
			data.fragment = lies[l].fragment;
			data.fragments = lies[l].fragments;
			data.sequence = lies[l].sequence;
			raw_send_frame(attacker[a], data, lies[l].payload, lies[l].length);
			neighbours_exchange(2);
		}
		raw_publish(attacker[a], topic, 0, "uncounted, and as it should be");
		raw_expect_silence(attacker[a]);
	}
	neighbours_exchange(40);
	/* Nothing of it but what was a message; the library has dropped the rest, and says so. */
	assert_int_equal(atomic_load(&neighbours.strangers), 4);
	neighbours_unharmed(2 * 10);
}

/* ---- connections ----------------------------------------------------------------------------- */

static int silent_connect(const struct proxy *proxy)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(proxy_port(proxy)),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

/* Whether the proxy has ended it, or said why it will. */
static bool is_over(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK) >= 0 || errno != EAGAIN;
}

/* HELLO, a byte now and then: it has five seconds for all of it, not for each. */
static void test_a_slow_hello_has_five_seconds(void **state)
{
	enum { SLOW = 16, BOUND_MS = 30000 };
	uint8_t hello[XY_HEADER_SIZE + 64] = {0};
	uint64_t since = test_now_ms();
	int fd[SLOW];
	size_t size, over = 0;

	size = raw_put(hello, (struct xy_frame){.version = XY_WIRE_VERSION, .type = XY_HELLO},
		       RAW_HELLO, strlen(RAW_HELLO));
	assert_true(size > BOUND_MS / 500);
	for (size_t i = 0; i < SLOW; i++)
		fd[i] = silent_connect(*state);
	for (size_t at = 0; over < SLOW; at++) {
		assert_true(test_now_ms() - since < BOUND_MS);
		assert_true(at < size);
		over = 0;
		for (size_t i = 0; i < SLOW; i++) {
			over += is_over(fd[i]);
			send(fd[i], hello + at, 1, MSG_NOSIGNAL);
		}
		poll(NULL, 0, 500);
	}
	for (size_t i = 0; i < SLOW; i++)
		close(fd[i]);
	neighbours_unharmed(0);
}

static void test_more_connections_than_may_be_are_told_and_closed(void **state)
{
	enum { MANY = 4 * CONNECTIONS };
	unsigned before = proxy_descriptors(*state), over = 0;
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	struct raw *greeted[CONNECTIONS], *late;
	int silent[MANY];
	size_t count = 0;

	for (size_t i = 0; i < MANY; i++)
		silent[i] = silent_connect(*state);
	/* Those beyond the limit; the others have their five seconds. */
	while (over < MANY - CONNECTIONS) {
		over = 0;
		for (size_t i = 0; i < MANY; i++)
			over += is_over(silent[i]);
		assert_true(test_now_ms() < deadline);
		assert_in_range(proxy_descriptors(*state), 0, before + CONNECTIONS + 1);
	}
	neighbours_exchange(20);
	for (size_t i = 0; i < MANY; i++)
		close(silent[i]);
	/* Those that say HELLO have a limit of their own, and the last one is told. */
	for (;;) {
		struct xy_frame hello = {.version = XY_WIRE_VERSION, .type = XY_HELLO};

		late = raw_connect(*state);
		raw_send_frame(late, hello, RAW_HELLO, strlen(RAW_HELLO));
		if (raw_read(late, TEST_TIMEOUT_MS) != RAW_FRAME) {
			raw_close(late); /* the silent ones were not all gone yet */
			continue;
		}
		if (late->frame.header.type != XY_WELCOME)
			break;
		assert_true(count < CONNECTIONS);
		greeted[count++] = late;
	}
	assert_int_equal(late->frame.header.type, XY_ERROR);
	assert_non_null(strstr((char *)late->frame.payload, "overloaded"));
	assert_true(count >= CONNECTIONS / 2);
	raw_close(late);
	neighbours_exchange(20);
	while (count-- > 0)
		raw_close(greeted[count]);
	neighbours_unharmed(0);
}

int main(void)
{
	static const char *const arguments[] = {"--max-connections", CONNECTIONS_TXT, NULL};
	const struct CMUnitTest tests[] = {
		attack_test(test_a_flood_of_direct_messages_is_bounded),
		attack_test(test_who_reads_gets_its_own_messages_through_a_flood),
		attack_test(test_a_flood_of_syncs_is_not_read_on),
		attack_test(test_a_flood_of_subscriptions_is_not_read_on),
		attack_test(test_a_flood_of_subjects_leaves_others_their_own),
		attack_test(test_fragments_and_bundles_that_lie_become_no_messages),
		attack_test(test_a_slow_hello_has_five_seconds),
		attack_test(test_more_connections_than_may_be_are_told_and_closed),
	};

	return proxy_run_both(tests, arguments);
}
