/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose sockets are taken (sock_ops), and which of them become lanes: only those that bring a
 * claim.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/kernel_env.h"
#include "common/sandbox.h"

#define TOPIC 0x7000000000000001

/* ---- population ------------------------------------------------------------------------------ */

/* Another address on the loopback device: the machine's own, but outside 127.0.0.0/8. */
static void own_address_add(const char *alias, const char *address)
{
	struct ifreq request = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", alias);
	in->sin_family = AF_INET;
	inet_pton(AF_INET, address, &in->sin_addr);
	assert_return_code(ioctl(fd, SIOCSIFADDR, &request), errno);
	close(fd);
}

/* Connects to `to` at the listener's port, from `from` if given, and tells whether it was taken. */
static bool connect_is_taken(struct env *env, const char *from, const char *to)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr *address = (struct sockaddr *)&v4;
	socklen_t length = sizeof(v4);
	uint64_t before = env->control->sockets;
	int fd, accepted;

	if (inet_pton(AF_INET, to, &v4.sin_addr) != 1) {
		assert_int_equal(inet_pton(AF_INET6, to, &v6.sin6_addr), 1);
		address = (struct sockaddr *)&v6;
		length = sizeof(v6);
	}
	fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (from) {
		struct sockaddr_in source = {.sin_family = AF_INET};

		inet_pton(AF_INET, from, &source.sin_addr);
		assert_return_code(bind(fd, (struct sockaddr *)&source, sizeof(source)), errno);
	}
	/* The port lies at the same place in both. */
	v4.sin_port = v6.sin6_port = ((struct sockaddr_in *)&env->address)->sin_port;
	assert_return_code(connect(fd, address, length), errno);
	accepted = accept(env->listener, NULL, NULL);
	assert_true(accepted >= 0);
	close(accepted);
	close(fd);
	assert_int_equal(env->control->sockets_left, 0);
	return env->control->sockets - before == 1;
}

static void a_listener_takes_connections_to_its_address(void **state)
{
	struct env *env = env_open(NULL);

	(void)state;
	assert_true(connect_is_taken(env, NULL, "127.0.0.1"));
	assert_true(connect_is_taken(env, NULL, "::ffff:127.0.0.1"));
	env_close(env);
	env = env_open(&(struct env_options){.address = "::1"});
	assert_true(connect_is_taken(env, NULL, "::1"));
	env_close(env);
}

static void connections_to_others_are_left_alone(void **state)
{
	struct env *env = env_open(NULL);
	struct sockaddr_in other = {.sin_family = AF_INET};
	socklen_t length = sizeof(other);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	/* Another port of the same address. */
	inet_pton(AF_INET, "127.0.0.1", &other.sin_addr);
	assert_return_code(bind(listener, (struct sockaddr *)&other, length), errno);
	assert_return_code(listen(listener, 1), errno);
	getsockname(listener, (struct sockaddr *)&other, &length);
	assert_return_code(connect(fd, (struct sockaddr *)&other, length), errno);
	assert_int_equal(env->control->sockets, 0);
	close(fd);
	close(listener);

	/* The same port of another address. */
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET, "127.0.0.2", &other.sin_addr);
	other.sin_port = ((struct sockaddr_in *)&env->address)->sin_port;
	assert_return_code(bind(listener, (struct sockaddr *)&other, length), errno);
	assert_return_code(listen(listener, 1), errno);
	assert_return_code(connect(fd, (struct sockaddr *)&other, length), errno);
	assert_int_equal(env->control->sockets, 0);
	close(fd);
	close(listener);
	env_close(env);
}

static void a_wildcard_takes_the_machines_own_addresses_only(void **state)
{
	struct env *env;

	(void)state;
	env = env_open(&(struct env_options){.address = "0.0.0.0", .wildcard = true});
	own_address_add("lo:1", "10.9.8.1");
	own_address_add("lo:2", "10.9.8.2");
	assert_true(connect_is_taken(env, NULL, "127.0.0.1"));
	assert_true(connect_is_taken(env, NULL, "127.1.2.3"));
	assert_true(connect_is_taken(env, NULL, "10.9.8.1"));
	assert_true(connect_is_taken(env, "127.0.0.1", "127.0.0.9"));
	/* As a remote machine looks: another address than the local one. */
	assert_false(connect_is_taken(env, "10.9.8.2", "10.9.8.1"));
	env_close(env);

	env = env_open(&(struct env_options){.address = "::", .wildcard = true});
	assert_true(connect_is_taken(env, NULL, "::1"));
	assert_true(connect_is_taken(env, NULL, "127.0.0.1"));
	assert_true(connect_is_taken(env, NULL, "::ffff:10.9.8.1"));
	assert_false(connect_is_taken(env, "10.9.8.2", "10.9.8.1"));
	env_close(env);
}

/* Two instances that listen at one place stand for any other agent that owns sockets. */
static void a_socket_of_another_agent_is_counted_and_never_bound(void **state)
{
	struct env *env = env_open(NULL);
	struct xy_listener listener = env->control->listener[0];
	struct xy_kernel_options options = {.instance = "second-agent",
					    .cgroup = sandbox_cgroup(),
					    .listener = &listener,
					    .listeners = 1,
					    .slots = 64,
					    .flows = 64,
					    .window = ENV_WINDOW};
	struct xy_kernel *second;
	struct client client;
	char why[512];

	(void)state;
	assert_int_equal(xy_kernel_open(&options, &second, why, sizeof(why)), 0);
	client_connect(env, &client);
	/* Whichever came first has it. */
	assert_int_equal(env->control->sockets + xy_kernel_control(second)->sockets, 1);
	assert_int_equal(env->control->sockets_left + xy_kernel_control(second)->sockets_left, 1);
	if (env->control->sockets_left) {
		client_welcome(env, &client);
		client_sync(env, &client);
		assert_false(xy_kernel_bound(env->kernel, client.slot));
		assert_int_equal(xy_kernel_adopt(env->kernel, client.slot, client.proxy), -ENOENT);
	} else {
		assert_int_equal(xy_kernel_claim(second, 77, &client.slot), 0);
		client.endpoint = 77;
		send_frame(&client, FRAME(.type = XY_SYNC, .correlation = 1));
		receive_frame(client.proxy);
		assert_false(xy_kernel_bound(second, client.slot));
	}
	close(client.fd);
	close(client.proxy);
	xy_kernel_close(second);
	env_close(env);
}

static void a_proxy_end_of_another_agent_is_refused(void **state)
{
	struct env *env = env_open(NULL);
	struct client client, second;

	(void)state;
	client_open(env, &client);
	client_connect(env, &second);
	client_welcome(env, &second);
	client_sync(env, &second);
	/* client_verdict's map has taken it already. */
	assert_int_equal(xy_kernel_adopt(env->kernel, second.slot, second.fd), -EBUSY);
	assert_int_equal(second.session->state, XY_SESSION_CLAIMED);
	client_close(env, &client);
	client_close(env, &second);
	env_close(env);
}

/* ---- claims ---------------------------------------------------------------------------------- */

static void a_lone_sync_takes_the_claim(void **state)
{
	struct env *env = env_open(NULL);
	struct client client;

	(void)state;
	client_connect(env, &client);
	client_welcome(env, &client);
	assert_int_equal(client.session->state, XY_SESSION_CLAIMED);
	assert_false(xy_kernel_bound(env->kernel, client.slot));
	client_sync(env, &client);
	assert_true(xy_kernel_bound(env->kernel, client.slot));
	assert_int_equal(client.session->reasons[XY_REASON_CONTROL], 1);
	assert_int_equal(env->control->unbound, 0);
	client_adopt(env, &client);
	assert_int_equal(client.session->state, XY_SESSION_LIVE);
	assert_int_equal(xy_session_sent(client.session), XY_HEADER_SIZE);
	client_close(env, &client);
	env_close(env);
}

/* Sends one frame that must not bind, and checks that it is counted as unbound. */
static void assert_does_not_bind(struct env *env, struct client *client, const struct frame *frame)
{
	uint64_t unbound = env->control->unbound;

	send_frame(client, frame);
	receive_frame(client->proxy);
	assert_int_equal(env->control->unbound, unbound + 1);
	assert_false(xy_kernel_bound(env->kernel, client->slot));
}

static void other_frames_do_not_take_a_claim(void **state)
{
	struct env *env = env_open(NULL);
	struct client client;

	(void)state;
	client_connect(env, &client);
	client_welcome(env, &client);
	assert_does_not_bind(env, &client, FRAME(.type = XY_ACK));
	assert_does_not_bind(env, &client, FRAME(.type = XY_DATA, .payload = 3));
	assert_does_not_bind(env, &client, FRAME(.type = XY_SYNC, .version = 9, .correlation = 1));
	client_close(env, &client);
	env_close(env);
}

static void a_sync_in_company_does_not_take_a_claim(void **state)
{
	struct env *env = env_open(NULL);
	unsigned char data[2 * XY_HEADER_SIZE], got[sizeof(data)];
	struct client client;
	size_t size;

	(void)state;
	client_connect(env, &client);
	client_welcome(env, &client);
	size = frame_put(data, FRAME(.type = XY_SYNC, .source = client.endpoint));
	size += frame_put(data + size, FRAME(.type = XY_ACK, .source = client.endpoint));
	send_all(client.fd, data, size);
	receive_all(client.proxy, got, size);
	assert_false(xy_kernel_bound(env->kernel, client.slot));
	client_close(env, &client);
	env_close(env);
}

static void a_forged_claim_binds_nothing(void **state)
{
	struct env *env = env_open(NULL);
	struct client client, forger;

	(void)state;
	client_connect(env, &client);
	client_welcome(env, &client);
	client_connect(env, &forger);
	client_welcome(env, &forger);
	forger.endpoint += 1000;
	assert_does_not_bind(env, &forger, FRAME(.type = XY_SYNC, .correlation = 1));
	client_sync(env, &client);
	assert_true(xy_kernel_bound(env->kernel, client.slot));
	/* The id is public from now on. */
	forger.endpoint = client.endpoint;
	assert_does_not_bind(env, &forger, FRAME(.type = XY_SYNC, .correlation = 1));
	client_close(env, &client);
	client_close(env, &forger);
	env_close(env);
}

static void a_claim_is_over_with_the_first_frame(void **state)
{
	struct env *env = env_open(NULL);
	struct client client;

	(void)state;
	client_connect(env, &client);
	client_welcome(env, &client);
	assert_does_not_bind(env, &client, FRAME(.type = XY_ACK));
	xy_kernel_unclaim(env->kernel, client.endpoint);
	xy_kernel_unclaim(env->kernel, client.endpoint);
	assert_does_not_bind(env, &client, FRAME(.type = XY_SYNC, .correlation = 1));
	client_close(env, &client);
	env_close(env);
}

static void a_claim_is_over_with_its_slot(void **state)
{
	struct env *env = env_open(NULL);
	struct client client;

	(void)state;
	client_connect(env, &client);
	client_welcome(env, &client);
	xy_kernel_retire(env->kernel, client.slot);
	assert_does_not_bind(env, &client, FRAME(.type = XY_SYNC, .correlation = 1));
	xy_kernel_grace(env->kernel);
	xy_kernel_recycle(env->kernel, client.slot);
	assert_does_not_bind(env, &client, FRAME(.type = XY_SYNC, .correlation = 1));
	client_close(env, &client);
	env_close(env);
}

static void a_bound_socket_takes_no_second_claim(void **state)
{
	struct env *env = env_open(NULL);
	struct client client, other;

	(void)state;
	client_open(env, &client);
	client_connect(env, &other);
	client_welcome(env, &other);
	/* The client learns of the other's id and tries. */
	send_all(client.fd, (unsigned char[XY_HEADER_SIZE]){0}, XY_HEADER_SIZE);
	client.endpoint = other.endpoint;
	send_frame(&client, FRAME(.type = XY_SYNC, .correlation = 2));
	assert_false(xy_kernel_bound(env->kernel, other.slot));
	client_sync(env, &other);
	assert_true(xy_kernel_bound(env->kernel, other.slot));
	client_close(env, &client);
	client_close(env, &other);
	env_close(env);
}

/* ---- old generations ------------------------------------------------------------------------- */

static void a_socket_of_an_old_generation_writes_nothing(void **state)
{
	struct env *env = env_open(&(struct env_options){.slots = 64});
	struct client old, heir;
	struct xy_session before;
	uint64_t unbound;

	(void)state;
	client_open(env, &old);
	xy_kernel_retire(env->kernel, old.slot);
	xy_kernel_grace(env->kernel);
	xy_kernel_recycle(env->kernel, old.slot);
	/* Until the slot comes round again. */
	for (;;) {
		client_open(env, &heir);
		if (heir.slot.slot == old.slot.slot)
			break;
		client_close(env, &heir);
	}
	assert_int_not_equal(heir.slot.generation, old.slot.generation);
	flow_to(env, &heir, TOPIC, &heir);
	before = *heir.session;
	unbound = env->control->unbound;
	send_frame(&old, FRAME(.target = TOPIC, .payload = 10));
	send_frame(&old, FRAME(.type = XY_SYNC, .correlation = 9));
	send_frame(&old, FRAME(.type = XY_ACK, .ack = 60));
	assert_memory_equal(&before, heir.session, sizeof(before));
	assert_int_equal(env->control->unbound - unbound, 3);
	close(old.fd);
	close(old.proxy);
	client_close(env, &heir);
	env_close(env);
}

static void a_flow_to_an_old_generation_reaches_nobody(void **state)
{
	struct env *env = env_open(&(struct env_options){.slots = 64});
	struct client publisher, old, heir;
	struct counts before;

	(void)state;
	client_open(env, &publisher);
	client_open(env, &old);
	flow_to(env, &publisher, TOPIC, &old);
	client_close(env, &old);
	for (;;) {
		client_open(env, &heir);
		if (heir.slot.slot == old.slot.slot)
			break;
		client_close(env, &heir);
	}
	before = counts_of(&publisher);
	send_frame(&publisher, FRAME(.target = TOPIC, .payload = 10));
	assert_passed(&publisher, &before, XY_REASON_RECEIVER_GONE, 1);
	assert_silent(heir.fd);
	client_close(env, &publisher);
	client_close(env, &heir);
	env_close(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listener_takes_connections_to_its_address),
		cmocka_unit_test(connections_to_others_are_left_alone),
		cmocka_unit_test(a_wildcard_takes_the_machines_own_addresses_only),
		cmocka_unit_test(a_socket_of_another_agent_is_counted_and_never_bound),
		cmocka_unit_test(a_proxy_end_of_another_agent_is_refused),
		cmocka_unit_test(a_lone_sync_takes_the_claim),
		cmocka_unit_test(other_frames_do_not_take_a_claim),
		cmocka_unit_test(a_sync_in_company_does_not_take_a_claim),
		cmocka_unit_test(a_forged_claim_binds_nothing),
		cmocka_unit_test(a_claim_is_over_with_the_first_frame),
		cmocka_unit_test(a_claim_is_over_with_its_slot),
		cmocka_unit_test(a_bound_socket_takes_no_second_claim),
		cmocka_unit_test(a_socket_of_an_old_generation_writes_nothing),
		cmocka_unit_test(a_flow_to_an_old_generation_reaches_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
