/* SPDX-License-Identifier: BSD-2-Clause */
/* Handshakes of many at once: a turn takes some of them, and all have their turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rcu.h"
#include "common/certs.h"
#include "core/handshake.h"

#define COUNT 60 /* with a key like this more than a turn may take, on any machine */

struct end {
	struct xy_handshake handshake;
	struct xy_tls *client;
	int fd, waited, over;
};

static struct xy_core core;
static struct xy_tls_context *client_context;
static struct cert *cert;
static struct end end[COUNT];
static struct xy_list queue;

static void waits(struct xy_handshake *handshake, uint32_t events)
{
	(void)events;
	xy_container_of(handshake, struct end, handshake)->waited++;
}

static void over(struct xy_handshake *handshake, int error, const char *why)
{
	if (error)
		fail_msg("%s", why);
	xy_container_of(handshake, struct end, handshake)->over++;
}

static struct xy_tls_context *context_of(const struct xy_tls_options *options)
{
	struct xy_tls_context *context = NULL;
	enum xy_tls_part part;
	char why[XY_TLS_WHY_SIZE];

	if (xy_tls_context_new(options, &context, &part, why))
		fail_msg("%s", why);
	return context;
}

static int setup(void **state)
{
	const struct xy_tls_pem pem = {0};
	struct xy_tls_options server = {.size = sizeof(server), .server = true};
	struct xy_tls_options client = {.size = sizeof(client), .ca = pem};

	(void)state;
	xy_rcu_register_thread();
	cert = cert_make(&(struct cert_options){.alternatives = "DNS:proxy", .rsa_bits = 4096});
	server.certificate = (struct xy_tls_pem){cert->pem, strlen(cert->pem)};
	server.key = (struct xy_tls_pem){cert->key_pem, strlen(cert->key_pem)};
	client.ca = server.certificate;
	core.tls = context_of(&server);
	client_context = context_of(&client);
	core.budget.bytes = 1ull << 40;
	xy_list_init(&queue);
	for (unsigned e = 0; e < COUNT; e++) {
		int fd[2];

		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
		end[e] = (struct end){
			.handshake = {.core = &core, .fd = fd[0], .waits = waits, .over = over},
			.fd = fd[1]};
		xy_list_init(&end[e].handshake.queued);
		end[e].client = xy_tls_new(client_context, fd[1], "proxy");
		xy_tls_handshake(end[e].client);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned e = 0; e < COUNT; e++) {
		xy_tls_free(end[e].handshake.tls);
		xy_tls_free(end[e].client);
		close(end[e].handshake.fd);
		close(end[e].fd);
	}
	xy_tls_context_put(core.tls);
	xy_tls_context_put(client_context);
	cert_free(cert);
	xy_rcu_unregister_thread();
	return 0;
}

static unsigned waited(void)
{
	unsigned count = 0;

	for (unsigned e = 0; e < COUNT; e++)
		count += end[e].waited > 0;
	return count;
}

static void test_a_turn_takes_some_and_all_have_theirs(void **state)
{
	unsigned turns = 1;

	(void)state;
	for (unsigned e = 0; e < COUNT; e++) {
		xy_handshake_ready(&end[e].handshake, &queue);
		xy_handshake_ready(&end[e].handshake, &queue); /* once in the queue */
	}
	assert_true(xy_handshakes_turn(&queue));
	assert_in_range(waited(), 1, COUNT / 2);
	for (; xy_handshakes_turn(&queue); turns++)
		assert_in_range(turns, 0, COUNT);
	assert_int_equal(waited(), COUNT);
	assert_false(xy_handshakes_turn(&queue));
	for (unsigned e = 0; e < COUNT; e++) {
		assert_int_equal(xy_tls_handshake(end[e].client), 0);
		xy_handshake_ready(&end[e].handshake, &queue);
	}
	while (xy_handshakes_turn(&queue))
		;
	for (unsigned e = 0; e < COUNT; e++) {
		assert_int_equal(end[e].over, 1);
		assert_true(end[e].handshake.done);
	}
	assert_int_equal(core.counter[XY_COUNT_TLS_HANDSHAKES], COUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_turn_takes_some_and_all_have_theirs),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
