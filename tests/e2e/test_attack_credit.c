/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attackers who lie about what they have read, or cannot hold what they are sent: they pin two
 * windows and no more, and what goes wrong is theirs alone.
 */
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/random.h"
#include "common/sandbox.h"
#include "common/status.h"
#include "e2e/attack_fixture.h"

#define FRAME_BYTES 16384
#define CHUNK       (256u << 10)
#define CONTROL     (64u << 10) /* beyond the window */
#define CROWD       (1u << 20) /* held by the proxy for one receiver, and then its publishers wait */

/* One frame to a topic, the sequence in it; on a lane, whose way is clear, it goes by the kernel.
 */
struct source {
	struct raw *raw;
	uint64_t topic, sequence;
	uint8_t frame[XY_FRAME_MAX];
	size_t size;
};

static void source_make(struct source *source, size_t size)
{
	static uint8_t payload[XY_PAYLOAD_MAX];
	struct xy_frame data = raw_header(source->raw, XY_DATA);

	data.target = source->topic;
	data.sequence = ++source->sequence;
	source->size = raw_put(source->frame, data, payload, size - XY_HEADER_SIZE);
}

static void source_open(struct source *source, struct raw *raw, const char *subject, size_t size)
{
	*source = (struct source){.raw = raw, .topic = raw_declare(raw, subject)};
	source_make(source, size);
	raw_send(raw, source->frame, source->size);
	raw_sync(raw);
}

static uint64_t held(const struct proxy *proxy, const struct raw *raw)
{
	json_t *status = status_take_whole(proxy);
	uint64_t bytes = status_number(status_connection(status, raw), "queued_bytes");

	json_decref(status);
	return bytes;
}

/* ---- what was not read ----------------------------------------------------------------------- */

/* Acks all that may ever come, and answers PINGs that it has not read. */
static void lie(struct raw *liar)
{
	struct xy_frame ack = raw_header(liar, XY_ACK), pong = raw_header(liar, XY_PONG);
	uint64_t guess;

	ack.ack = pong.ack = UINT64_MAX;
	raw_send_frame(liar, ack, NULL, 0);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(xy_random_id(&guess), 0);
		raw_send_frame(liar, pong, &guess, sizeof(guess));
	}
}

static void test_acks_and_pongs_without_reading_pin_two_windows(void **state)
{
	struct raw *liar = raw_open(*state);
	uint64_t window = liar->welcome.window, most = 16 * window, taken = 0, more, unread;
	struct sessions *sessions = sessions_open(*state);
	const struct xy_session *session = sessions_of(sessions, liar->endpoint);
	struct source source;
	int bytes;

	raw_subscribe(liar, "{\"subject\":\"attack.pin\",\"stall_ms\":600000}");
	source_open(&source, raw_open(*state), "attack.pin", FRAME_BYTES);
	source_make(&source, FRAME_BYTES);
	/* The publisher obeys nothing either, until it is not read any more. */
	do {
		more = attack_flood(source.raw, source.frame, source.size, CHUNK);
		taken += more;
		lie(liar);
	} while (more == CHUNK && taken < most);
	neighbours_exchange(10);
	assert_int_equal(ioctl(liar->fd, FIONREAD, &bytes), 0);
	unread = session ? xy_session_sent(session) - liar->consumed : (uint64_t)bytes;
	print_message("%lu bytes taken, %lu unread, %lu held\n", (unsigned long)taken,
		      (unsigned long)unread, (unsigned long)held(*state, liar));
	assert_true(taken < most);
	assert_in_range(unread, 0, 2 * window + FRAME_BYTES + CONTROL);
	assert_in_range((uint64_t)bytes, 0, 2 * window + FRAME_BYTES + CONTROL);
	assert_in_range(held(*state, liar), 0, CROWD + CHUNK);
	if (session)
		assert_true(unread > window);
	sessions_close(sessions);
	neighbours_unharmed(0);
}

/* ---- acks that go back ----------------------------------------------------------------------- */

static void ack(struct raw *raw, uint64_t value)
{
	struct xy_frame frame = raw_header(raw, XY_ACK);

	frame.ack = value;
	raw_send_frame(raw, frame, NULL, 0);
}

static void test_an_ack_that_goes_back_takes_nothing_back(void **state)
{
	enum { MESSAGES = 200 };
	struct raw *attacker = raw_open(*state);
	struct sessions *sessions = sessions_open(*state);
	const struct xy_session *session = sessions_of(sessions, attacker->endpoint);
	struct xy_frame ping = raw_header(attacker, XY_PING);
	struct source source;

	raw_subscribe_to(attacker, "attack.back");
	source_open(&source, raw_open(*state), "attack.back", FRAME_BYTES);
	raw_expect_data(attacker);
	for (int i = 0; i < MESSAGES; i++) {
		uint64_t acked = attacker->consumed;

		ack(attacker, acked);
		ack(attacker, 0);
		ack(attacker, acked / 2);
		ping.ack = 1; /* the loop has read them when it answers */
		raw_send_frame(attacker, ping, NULL, 0);
		raw_expect(attacker, XY_PONG);
		if (session) {
			assert_true(session->acked >= acked);
			assert_true(session->acked_loop >= acked);
		}
		source_make(&source, FRAME_BYTES);
		raw_send(source.raw, source.frame, source.size);
		assert_int_equal(raw_expect_data(attacker)->header.sequence, source.sequence);
	}
	sessions_close(sessions);
	neighbours_unharmed(0);
}

/* ---- no memory for it ------------------------------------------------------------------------ */

/* A redirect of several pieces could be cut at the limit of the receiver's memory: then the rest of
 * a frame would go to the proxy, as if its sender had sent it, and the sender would be closed for
 * it (K15). */
static void test_a_receiver_without_memory_does_not_cut_its_senders_stream(void **state)
{
	enum { BYTES = 50000, FAILURES = 10, MOST = 500 };
	struct raw *attacker, *friend;
	unsigned failed = 0, whole = 0, sends;
	uint64_t calm, sequence = 0;
	struct source source;

	if (proxy_kernel_path(*state) == KERNEL_PATH_OFF) {
		neighbours_unharmed(0); /* nothing is redirected to anybody */
		return;
	}
	if (!sandbox_tight_enter("300000"))
		skip(); /* no memory cgroup that counts TCP */
	attacker = raw_open(*state);
	assert_true(sandbox_tight_leave());
	raw_subscribe(attacker, "{\"subject\":\"attack.tiny\",\"stall_ms\":600000}");
	attacker->silent = true;
	friend = raw_open(*state);
	raw_subscribe_to(friend, "calm");
	source_open(&source, raw_open(*state), "attack.tiny", BYTES);
	calm = raw_declare(source.raw, "calm");
	whole = 1;
	for (sends = 0; failed < FAILURES && sends < MOST; sends++) {
		ssize_t sent;

		source_make(&source, BYTES);
		sent = raw_send_some(source.raw, source.frame, source.size);
		if (sent == BYTES)
			whole++;
		else if (sent < 0 && errno == ENOMEM)
			failed++;
		else
			fail_msg("%zd of %d bytes were sent", sent, BYTES);
	}
	assert_int_equal(failed, FAILURES);
	for (int i = 0; i < 10; i++) {
		raw_publish(source.raw, calm, ++sequence, "all is well");
		raw_expect_text(friend, "all is well");
		assert_int_equal(friend->frame.header.sequence, sequence);
	}
	raw_expect_silence(source.raw);
	/* What it has been sent is whole. */
	while (whole-- > 0)
		assert_int_equal(raw_expect_data(attacker)->length, BYTES - XY_HEADER_SIZE);
	neighbours_unharmed(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		attack_test(test_acks_and_pongs_without_reading_pin_two_windows),
		attack_test(test_an_ack_that_goes_back_takes_nothing_back),
		attack_test(test_a_receiver_without_memory_does_not_cut_its_senders_stream),
	};

	return proxy_run_both(tests, NULL);
}
