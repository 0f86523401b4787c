/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attackers who want to be somebody else: to speak with another's source, to take another's lane
 * with what they know of it, to end another's subscription, to write into an operator's terminal.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/program.h"
#include "e2e/attack_fixture.h"

/* ---- another's source ------------------------------------------------------------------------ */

/* The shape that a kernel path would redirect: one whole frame, on a target that has a flow. */
static void forge_source(const struct proxy *proxy, struct raw *attacker)
{
	struct sessions *sessions = sessions_open(proxy);
	const struct xy_session *session = NULL;
	struct xy_frame data = raw_header(attacker, XY_DATA);
	uint64_t strangers = atomic_load(&neighbours.strangers);

	data.target = raw_declare(attacker, NEIGHBOURS_SUBJECT);
	raw_publish(attacker, data.target, 1, "my own");
	raw_sync(attacker);
	raw_publish(attacker, data.target, 2, "my own");
	if (attacker->lane) {
		session = sessions_of(sessions, attacker->endpoint);
		assert_int_equal(xy_session_frames(session), 1);
	}
	data.source = xy_client_endpoint(neighbours.publisher);
	data.sequence = atomic_load(&neighbours.count) + 1;
	raw_send_frame(attacker, data, "the neighbour's", 15);
	neighbours_exchange(20);
	if (session)
		assert_int_equal(xy_session_frames(session), 1);
	raw_expect_error(attacker, XY_E_BAD_SOURCE);
	raw_close(attacker);
	assert_int_equal(atomic_load(&neighbours.strangers), strangers + 2);
	sessions_close(sessions);
}

static void test_a_forged_source_speaks_for_nobody(void **state)
{
	forge_source(*state, raw_open(*state));
	forge_source(*state, raw_open_unix(*state));
	neighbours_unharmed(0);
}

/* ---- another's lane -------------------------------------------------------------------------- */

/* A lane with a flow to a friend; an attacker knows its endpoint, from messages. */
struct victim {
	struct raw *raw, *friend;
	uint64_t topic, sequence;
	struct sessions *sessions;
	const struct xy_session *session; /* NULL without the kernel path */
	uint64_t cookie, frames;
};

static struct victim victim_open(const struct proxy *proxy, const char *subject)
{
	struct victim victim = {.raw = raw_open(proxy), .friend = raw_open(proxy)};

	raw_subscribe_to(victim.friend, subject);
	victim.topic = raw_declare(victim.raw, subject);
	raw_publish(victim.raw, victim.topic, ++victim.sequence, "first");
	raw_sync(victim.raw);
	raw_publish(victim.raw, victim.topic, ++victim.sequence, "second");
	raw_expect_text(victim.friend, "first");
	raw_expect_text(victim.friend, "second");
	victim.sessions = sessions_open(proxy);
	victim.session = sessions_of(victim.sessions, victim.raw->endpoint);
	if (victim.session) {
		victim.cookie = victim.session->cookie;
		victim.frames = xy_session_frames(victim.session);
		assert_true(victim.frames > 0);
	}
	return victim;
}

/* SYNC that would bind to its slot, and DATA that would go by its flow. Returns the bytes. */
static size_t victim_attack(const struct victim *victim, int fd)
{
	struct xy_frame sync = raw_header(victim->raw, XY_SYNC);
	struct xy_frame data = raw_header(victim->raw, XY_DATA);
	uint8_t bytes[256];
	size_t size, all;

	/* The victim's epoch, so that nothing seems to be under way. */
	sync.correlation = victim->raw->syncs;
	size = raw_put(bytes, sync, NULL, 0);
	all = size;
	assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
	data.target = victim->topic;
	data.sequence = victim->sequence + 1;
	size = raw_put(bytes, data, "not the victim", 14);
	/* The proxy may have closed it by now. */
	if (send(fd, bytes, size, MSG_NOSIGNAL) > 0)
		all += size;
	return all;
}

/* It has its lane, speaks by it and hears by it, and nobody has spoken in its name. */
static void victim_unharmed(struct victim *victim)
{
	if (victim->session) {
		assert_int_equal(victim->session->cookie, victim->cookie);
		assert_int_equal(xy_session_frames(victim->session), victim->frames);
	}
	raw_publish(victim->raw, victim->topic, ++victim->sequence, "third");
	raw_expect_text(victim->friend, "third");
	assert_int_equal(victim->friend->frame.header.sequence, victim->sequence);
	raw_expect_fence(victim->raw, victim->friend);
	raw_expect_silence(victim->raw);
	sessions_close(victim->sessions);
}

static void test_a_claim_for_anothers_endpoint_gets_nothing(void **state)
{
	struct victim victim = victim_open(*state, "victim.one");
	struct raw *attacker = raw_connect(*state);

	raw_hello(attacker, RAW_HELLO);
	victim_attack(&victim, attacker->fd);
	raw_expect_error(attacker, XY_E_BAD_SOURCE);
	victim_unharmed(&victim);
	/* Nor when it has a lane itself. */
	victim = victim_open(*state, "victim.two");
	attacker = raw_open(*state);
	victim_attack(&victim, attacker->fd);
	raw_expect_error(attacker, XY_E_BAD_SOURCE);
	victim_unharmed(&victim);
	neighbours_unharmed(0);
}

/* Both ends of a connection with the victim's addresses and ports, in a network namespace where
 * they are free. The thread that makes them is in it, and nobody else. */
struct elsewhere {
	struct sockaddr_in client, server;
	int fd, accepted;
};

static void *elsewhere_connect(void *context)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	struct elsewhere *elsewhere = context;
	const struct sockaddr *client = (struct sockaddr *)&elsewhere->client;
	const struct sockaddr *server = (struct sockaddr *)&elsewhere->server;
	int listener, on = 1;

	elsewhere->accepted = -1;
	if (unshare(CLONE_NEWNET) < 0)
		return NULL;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	elsewhere->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ioctl(listener, SIOCSIFFLAGS, &request) == 0 &&
	    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    bind(listener, server, sizeof(elsewhere->server)) == 0 && listen(listener, 1) == 0 &&
	    bind(elsewhere->fd, client, sizeof(elsewhere->client)) == 0 &&
	    connect(elsewhere->fd, server, sizeof(elsewhere->server)) == 0)
		elsewhere->accepted = accept(listener, NULL, NULL);
	close(listener);
	return NULL;
}

static void test_the_same_addresses_in_another_network_namespace_get_nothing(void **state)
{
	struct victim victim = victim_open(*state, "victim.three");
	struct elsewhere elsewhere;
	socklen_t length = sizeof(elsewhere.client);
	uint8_t bytes[256];
	pthread_t thread;
	size_t sent;

	assert_int_equal(getsockname(victim.raw->fd, (struct sockaddr *)&elsewhere.client, &length),
			 0);
	assert_int_equal(getpeername(victim.raw->fd, (struct sockaddr *)&elsewhere.server, &length),
			 0);
	assert_int_equal(pthread_create(&thread, NULL, elsewhere_connect, &elsewhere), 0);
	pthread_join(thread, NULL);
	assert_true(elsewhere.accepted >= 0);
	sent = victim_attack(&victim, elsewhere.fd);
	assert_int_equal(sent, 2 * XY_HEADER_SIZE + 14);
	/* It went where TCP brings it, and nowhere else. */
	assert_int_equal(recv(elsewhere.accepted, bytes, sent, MSG_WAITALL), sent);
	victim_unharmed(&victim);
	assert_int_equal(recv(elsewhere.fd, bytes, sizeof(bytes), MSG_DONTWAIT), -1);
	close(elsewhere.fd);
	close(elsewhere.accepted);
	neighbours_unharmed(0);
}

/* ---- another's subscription ------------------------------------------------------------------ */

static void test_anothers_subscription_cannot_be_ended(void **state)
{
	struct raw *victim = raw_open(*state), *publisher = raw_open(*state);
	struct raw *attacker = raw_open(*state);
	struct xy_frame unsubscribe = raw_header(attacker, XY_UNSUBSCRIBE);
	uint64_t topic;

	unsubscribe.target = raw_subscribe_to(victim, "subscribed");
	unsubscribe.correlation = 99;
	topic = raw_declare(publisher, "subscribed");
	raw_subscribe_to(attacker, "something.else");
	raw_send_frame(attacker, unsubscribe, NULL, 0);
	raw_expect_error(attacker, XY_E_UNKNOWN_SUBSCRIPTION);
	raw_publish(publisher, topic, 1, "still there");
	raw_expect_text(victim, "still there");
	neighbours_unharmed(0);
}

/* ---- an operator's terminal ------------------------------------------------------------------ */

/* Names are what clients say. One with a new line would make a row of the table that is not there,
 * and one with an escape could write what it likes. */
static void test_a_name_writes_no_lines_and_no_escapes_into_status(void **state)
{
	struct raw *attacker = raw_connect(*state);
	const char *const command[] = {proxy_binary(), "status", "--instance",
				       proxy_instance(*state), NULL};
	struct program *program;
	const char *line;
	unsigned lines = 0;

	raw_hello(attacker, "{\"name\":\"evil\\u001b[2J\\u009b31m\\nforged  row\",\"ack\":true}");
	raw_sync(attacker);
	raw_subscribe(attacker, "{\"subject\":\"evil\",\"group\":\"evil\\u001b]0;title\\u0007\"}");
	program = program_start(command);
	while (lines < 2) {
		line = program_line(program);
		for (const char *at = line; *at; at++)
			assert_false((unsigned char)*at < 0x20 || *at == 0x7f ||
				     ((unsigned char)*at == 0xc2 && (unsigned char)at[1] < 0xa0));
		assert_int_not_equal(strncmp(line, "forged", 6), 0);
		lines += strstr(line, "evil") != NULL;
	}
	program_finish(program, 0);
	neighbours_unharmed(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		attack_test(test_a_forged_source_speaks_for_nobody),
		attack_test(test_a_claim_for_anothers_endpoint_gets_nothing),
		attack_test(test_the_same_addresses_in_another_network_namespace_get_nothing),
		attack_test(test_anothers_subscription_cannot_be_ended),
		attack_test(test_a_name_writes_no_lines_and_no_escapes_into_status),
	};

	return proxy_run_both(tests, NULL);
}
