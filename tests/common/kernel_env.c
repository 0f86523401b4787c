/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/kernel_env.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "base/clock.h"
#include "common/sandbox.h"
#include "kernel/internal.h"

/* ---- environment ----------------------------------------------------------------------------- */

static void unavailable(const char *what)
{
	if (getenv("CI")) {
		print_error("%s\n", what);
		fail();
	}
	print_message("skipped: %s\n", what);
	skip();
}

static void listen_on(struct env *env, const char *address)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&env->address;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&env->address;

	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		env->address.ss_family = AF_INET;
		env->address_length = sizeof(*v4);
	} else {
		assert_int_equal(inet_pton(AF_INET6, address, &v6->sin6_addr), 1);
		env->address.ss_family = AF_INET6;
		env->address_length = sizeof(*v6);
	}
	env->listener = socket(env->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(env->listener >= 0);
	assert_return_code(
		bind(env->listener, (struct sockaddr *)&env->address, env->address_length), errno);
	assert_return_code(listen(env->listener, 128), errno);
	assert_return_code(
		getsockname(env->listener, (struct sockaddr *)&env->address, &env->address_length),
		errno);
}

/* Loading takes long, verifying above all, on an emulated machine seconds: one kernel side serves
 * the tests of a program that want the same sizes. */
static struct {
	struct xy_kernel *kernel;
	struct xy_control control; /* as it was when it was opened */
	bool spare;                /* no test has it; else it is of a failed test, or of this one */
} shared;

/* Pins would outlive the process. */
static void shared_close(void)
{
	xy_kernel_close(shared.kernel);
	shared.kernel = NULL;
}

static void map_empty(int fd, void *key)
{
	while (bpf_map_get_next_key(fd, NULL, key) == 0)
		assert_int_equal(bpf_map_delete_elem(fd, key), 0);
}

static void ignore(const struct xy_pressure *pressure, void *context)
{
	(void)pressure;
	(void)context;
}

/* As it was before any test; but generations go on, so that a socket which a test has not closed
 * is nobody's. */
static void renew(struct xy_kernel *kernel)
{
	uint32_t size = kernel->slots.size, generation;
	struct xy_flow_key flow;
	uint64_t endpoint;

	map_empty(kernel->claims_fd, &endpoint);
	map_empty(kernel->flows_fd, &flow);
	assert_int_equal(xy_kernel_pressure_read(kernel, ignore, NULL), 0);
	xy_slots_close(&kernel->slots);
	assert_int_equal(xy_slots_open(&kernel->slots, size), 0);
	for (uint32_t i = 0; i < size; i++) {
		generation = kernel->session[i].generation;
		kernel->session[i] = (struct xy_session){.generation = generation + 1};
	}
	*kernel->control = shared.control;
}

static bool is_of_size(const struct xy_kernel *kernel, const struct xy_kernel_options *options)
{
	return kernel->slots.size == options->slots && kernel->flows == options->flows;
}

static void kernel_open(const struct xy_kernel_options *options, struct env *env)
{
	static bool registered;
	char why[512];
	int error;

	shared_close();
	error = xy_kernel_open(options, &env->kernel, why, sizeof(why));
	if (error) {
		close(env->listener);
		test_free(env);
		/* EACCES is the verifier's: a failure. */
		if (error == -EPERM || error == -ENOSYS)
			unavailable(why);
		fail_msg("%s", why);
	}
	shared.kernel = env->kernel;
	shared.control = *env->kernel->control;
	if (!registered)
		atexit(shared_close);
	registered = true;
}

/* Of one that is open already: what does not need other programs and maps. */
static void kernel_take(const struct xy_kernel_options *options, struct env *env)
{
	struct xy_control *control = shared.kernel->control;

	env->kernel = shared.kernel;
	renew(env->kernel);
	env->kernel->window = options->window;
	control->listener[0] = options->listener[0];
	control->max_message = options->max_message ? options->max_message : XY_MESSAGE_MAX_DEFAULT;
}

struct env *env_open(const struct env_options *options)
{
	static const struct env_options defaults;
	struct xy_kernel_options kernel = {0};
	struct xy_listener listener;
	const char *missing = sandbox_enter();
	char instance[32];
	struct env *env;

	if (missing)
		unavailable(missing);
	if (!options)
		options = &defaults;
	env = test_calloc(1, sizeof(*env));
	listen_on(env, options->address ? options->address : "127.0.0.1");
	listener = xy_kernel_listener((struct sockaddr *)&env->address);
	if (options->wildcard)
		memset(listener.addr, 0, sizeof(listener.addr));
	snprintf(instance, sizeof(instance), "test-%d", getpid());
	kernel.instance = instance;
	kernel.cgroup = sandbox_cgroup();
	kernel.listener = &listener;
	kernel.listeners = 1;
	kernel.slots = options->slots ? options->slots : 64;
	kernel.flows = options->flows ? options->flows : 256;
	kernel.window = options->window ? options->window : ENV_WINDOW;
	kernel.max_message = options->max_message;
	kernel.trial = options->trial;
	if (shared.spare && !options->trial && is_of_size(shared.kernel, &kernel))
		kernel_take(&kernel, env);
	else
		kernel_open(&kernel, env);
	shared.spare = false;
	env->control = (struct xy_control *)xy_kernel_control(env->kernel);
	env_beat(env);
	return env;
}

void env_beat(struct env *env)
{
	env->control->heartbeat = xy_clock_ns() + 3600 * XY_NS_PER_S;
}

void env_close(struct env *env)
{
	shared.spare = true;
	close(env->listener);
	test_free(env);
}

void env_end(struct env *env)
{
	shared_close();
	close(env->listener);
	test_free(env);
}

/* ---- clients --------------------------------------------------------------------------------- */

void client_connect(struct env *env, struct client *client)
{
	*client = (struct client){0};
	client->fd = socket(env->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(client->fd >= 0);
	assert_return_code(
		connect(client->fd, (struct sockaddr *)&env->address, env->address_length), errno);
	client->proxy = accept4(env->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(client->proxy >= 0);
}

void client_welcome(struct env *env, struct client *client)
{
	/* Any number that is not in use will do as an id here. */
	client->endpoint = UINT64_C(0xe000000000000000) + ++env->endpoints;
	assert_int_equal(xy_kernel_claim(env->kernel, client->endpoint, &client->slot), 0);
	client->session = xy_kernel_session(env->kernel, client->slot.slot);
}

static void sync_send(struct client *client)
{
	send_frame(client, FRAME(.type = XY_SYNC, .correlation = ++client->correlation));
	assert_int_equal(receive_frame(client->proxy).type, XY_SYNC);
}

static void sync_answer(struct client *client)
{
	unsigned char synced[XY_HEADER_SIZE];
	size_t size = frame_put(synced, FRAME(.type = XY_SYNCED, .flags = XY_LANE,
					      .correlation = client->correlation));

	xy_session_epoch_start(client->session, client->correlation);
	send_all(client->proxy, synced, size);
	assert_int_equal(receive_frame(client->fd).type, XY_SYNCED);
}

void client_sync(struct env *env, struct client *client)
{
	sync_send(client);
	xy_kernel_unclaim(env->kernel, client->endpoint);
}

void client_adopt(struct env *env, struct client *client)
{
	assert_true(xy_kernel_bound(env->kernel, client->slot));
	assert_int_equal(xy_kernel_adopt(env->kernel, client->slot, client->proxy), 0);
	sync_answer(client);
}

void client_open(struct env *env, struct client *client)
{
	client_connect(env, client);
	client_welcome(env, client);
	client_sync(env, client);
	client_adopt(env, client);
}

void client_resync(struct client *client)
{
	sync_send(client);
	sync_answer(client);
}

void client_close(struct env *env, struct client *client)
{
	close(client->fd);
	close(client->proxy);
	if (client->slot.generation) {
		xy_kernel_retire(env->kernel, client->slot);
		xy_kernel_grace(env->kernel);
		xy_kernel_recycle(env->kernel, client->slot);
	}
}

/* ---- frames ---------------------------------------------------------------------------------- */

static unsigned char payload_byte(uint64_t source, uint64_t sequence, size_t at)
{
	return (unsigned char)(source * 7 + sequence * 13 + at * 3);
}

size_t frame_put(void *to, const struct frame *frame)
{
	uint32_t length = frame->length ? frame->length : XY_HEADER_SIZE + frame->payload;
	struct xy_header header = {
		.length = xy_be32(length),
		.version = frame->version ? frame->version : XY_WIRE_VERSION,
		.type = frame->type ? frame->type : XY_DATA,
		.flags = xy_be16(frame->flags),
		.target = xy_be64(frame->target),
		.source = xy_be64(frame->source),
		.sequence = xy_be64(frame->sequence),
		.ack = xy_be64(frame->ack),
		.correlation = xy_be64(frame->correlation),
		.fragment = xy_be16(frame->fragment),
		.fragments = xy_be16(frame->fragments),
	};
	unsigned char *payload = (unsigned char *)to + sizeof(header);

	memcpy(to, &header, sizeof(header));
	for (size_t i = 0; i < frame->payload; i++)
		payload[i] = payload_byte(frame->source, frame->sequence, i);
	return sizeof(header) + frame->payload;
}

struct frame frame_get(const void *from)
{
	struct xy_header header;

	memcpy(&header, from, sizeof(header));
	return (struct frame){
		.length = xy_be32(header.length),
		.payload = xy_be32(header.length) - XY_HEADER_SIZE,
		.version = header.version,
		.type = header.type,
		.flags = xy_be16(header.flags),
		.target = xy_be64(header.target),
		.source = xy_be64(header.source),
		.sequence = xy_be64(header.sequence),
		.ack = xy_be64(header.ack),
		.correlation = xy_be64(header.correlation),
		.fragment = xy_be16(header.fragment),
		.fragments = xy_be16(header.fragments),
	};
}

bool frame_intact(const void *whole)
{
	const unsigned char *payload = (const unsigned char *)whole + XY_HEADER_SIZE;
	struct frame frame = frame_get(whole);

	if (frame.length < XY_HEADER_SIZE)
		return false;
	for (size_t i = 0; i < frame.payload; i++)
		if (payload[i] != payload_byte(frame.source, frame.sequence, i))
			return false;
	return true;
}

/* ---- sockets --------------------------------------------------------------------------------- */

void send_all(int fd, const void *data, size_t size)
{
	ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

	assert_return_code(sent, errno);
	assert_int_equal(sent, size);
}

void send_frame(struct client *client, const struct frame *frame)
{
	static unsigned char buffer[XY_FRAME_MAX];
	struct frame own = *frame;

	own.source = client->endpoint;
	send_all(client->fd, buffer, frame_put(buffer, &own));
}

void assert_readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&poller, 1, ENV_TIMEOUT), 1);
}

void assert_silent(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&poller, 1, 0), 0);
}

void receive_all(int fd, void *to, size_t size)
{
	ssize_t received;

	for (size_t at = 0; at < size; at += (size_t)received) {
		assert_readable(fd);
		received = recv(fd, (char *)to + at, size - at, 0);
		assert_return_code(received, errno);
		assert_int_not_equal(received, 0);
	}
}

struct frame receive_frame(int fd)
{
	static unsigned char buffer[XY_FRAME_MAX];
	struct frame frame;

	receive_all(fd, buffer, XY_HEADER_SIZE);
	frame = frame_get(buffer);
	assert_in_range(frame.length, XY_HEADER_SIZE, XY_FRAME_MAX);
	receive_all(fd, buffer + XY_HEADER_SIZE, frame.payload);
	assert_true(frame_intact(buffer));
	return frame;
}

/* ---- flows ----------------------------------------------------------------------------------- */

struct xy_flow_key flow_key(const struct client *from, uint64_t target)
{
	return (struct xy_flow_key){
		.target = target, .slot = from->slot.slot, .kind = XY_FLOW_TOPIC};
}

void flow_put(struct env *env, const struct client *from, uint64_t target,
	      const struct client *const *members, uint32_t count)
{
	struct xy_flow flow = {.key = flow_key(from, target),
			       .generation = from->slot.generation,
			       .members = (uint16_t)count,
			       .group = count > 1};

	for (uint32_t i = 0; i < count; i++)
		flow.member[i] =
			(struct xy_flow_member){members[i]->slot.slot, members[i]->slot.generation};
	assert_int_equal(xy_kernel_flow_put(env->kernel, &flow), 0);
}

void flow_to(struct env *env, const struct client *from, uint64_t target, const struct client *to)
{
	flow_put(env, from, target, &to, 1);
}

/* ---- counters -------------------------------------------------------------------------------- */

const char *reason_text(enum xy_reason reason)
{
	static const char *const texts[] = {
#define X(name, text, why) text,
		XY_REASONS(X)
#undef X
	};

	return texts[reason];
}

struct counts counts_of(const struct client *client)
{
	const struct xy_session *session = client->session;
	struct counts counts = {
		.frames = session->frames,
		.bytes = session->bytes,
		.sends = session->sends,
		.passed = session->passed,
		.barrier_out = session->barrier_out,
	};

	memcpy(counts.reasons, session->reasons, sizeof(counts.reasons));
	return counts;
}

static void assert_reasons(const struct counts *now, const struct counts *since,
			   enum xy_reason expected, uint64_t count)
{
	for (int reason = 0; reason < XY_REASON_COUNT; reason++) {
		uint64_t counted = now->reasons[reason] - since->reasons[reason];

		if (counted != (reason == (int)expected ? count : 0))
			fail_msg("%s was counted %lu times; expected: %s, %lu times",
				 reason_text(reason), counted,
				 expected < XY_REASON_COUNT ? reason_text(expected) : "none",
				 count);
	}
}

void assert_redirected(const struct client *client, const struct counts *since, uint32_t frames)
{
	struct counts now = counts_of(client);

	assert_reasons(&now, since, XY_REASON_COUNT, 0);
	assert_int_equal(now.frames - since->frames, frames);
	assert_int_equal(now.sends - since->sends, 1);
	assert_int_equal(now.passed, since->passed);
	assert_int_equal(now.barrier_out, since->barrier_out);
}

void assert_passed(const struct client *client, const struct counts *since, enum xy_reason reason,
		   uint32_t frames)
{
	struct counts now = counts_of(client);
	bool control = reason == XY_REASON_CONTROL;

	assert_reasons(&now, since, reason, control ? 1 : frames);
	assert_int_equal(now.frames, since->frames);
	assert_int_equal(now.sends, since->sends);
	assert_int_equal(now.passed - since->passed, control ? 0 : frames);
}
