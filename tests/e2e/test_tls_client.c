/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem and the commands over TLS, against the real proxy. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xylem/client.h>

#include "common/certs.h"
#include "common/command.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/secure.h"
#include "common/status.h"

#define SERVER   SECURE_LISTEN
#define BY_NAME  "tls:localhost:7443"
#define PATIENCE TEST_TIMEOUT_MS
#define LARGE    (4u << 20) /* bytes of a message */

static struct cert *ca, *successor_ca, *client_cert, *stranger_cert;
static char proxy_cert_path[128], proxy_key_path[128], clients_ca_path[128], config_path[128];
static char ca_path[128], cert_path[128], key_path[128], stranger_path[128];

/* ---- the library ----------------------------------------------------------------------------- */

static struct xy_client *client_open(struct xy_client_options options)
{
	struct xy_client *client;
	char why[256] = "";

	options.size = sizeof(options);
	options.server = options.server ?: SERVER;
	options.tls_ca = strncmp(options.server, "tls:", 4) == 0 ? ca_path : NULL;
	options.why = why;
	options.why_size = sizeof(why);
	if (xy_client_connect(&options, &client) != 0)
		fail_msg("%s", why);
	return client;
}

static void subscribe(struct xy_client *client, const char *pattern, xy_message_fn on_message,
		      void *context)
{
	struct xy_subscribe_options options = {
		.size = sizeof(options), .on_message = on_message, .context = context};

	assert_int_equal(xy_client_subscribe(client, pattern, &options, NULL), 0);
}

static struct xy_topic *declare(struct xy_client *client, const char *subject)
{
	struct xy_topic *topic;

	assert_int_equal(xy_client_declare(client, subject, &topic), 0);
	return topic;
}

static void publish_text(struct xy_client *client, struct xy_topic *topic, const char *text)
{
	assert_int_equal(xy_client_publish(client, topic, text, strlen(text)), 0);
}

static void expect_text(struct xy_client *client, const char *text)
{
	struct xy_message message;

	assert_int_equal(xy_client_next(client, PATIENCE, &message), 0);
	assert_int_equal(message.length, strlen(text));
	assert_memory_equal(message.data, text, message.length);
}

static void test_lanes_and_tls_meet_and_nobody_is_a_lane_over_tls(void **state)
{
	struct proxy *proxy = *state;
	struct xy_client *secure = client_open((struct xy_client_options){0});
	struct xy_client *plain =
		client_open((struct xy_client_options){.server = proxy_server(proxy)});
	struct xy_topic *up = declare(secure, "meet.up"), *down = declare(plain, "meet.down");
	char text[32];

	assert_false(xy_client_on_lane(secure));
	assert_int_equal(xy_client_on_lane(plain), proxy_kernel_path(proxy) == KERNEL_PATH_ON);
	subscribe(secure, "meet.down", NULL, NULL);
	subscribe(plain, "meet.up", NULL, NULL);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(text, sizeof(text), "message %u", i);
		publish_text(secure, up, text);
		publish_text(plain, down, text);
		assert_int_equal(xy_client_flush(secure, PATIENCE), 0);
		assert_int_equal(xy_client_flush(plain, PATIENCE), 0);
		expect_text(plain, text);
		expect_text(secure, text);
	}
	assert_int_equal(xy_client_drain(secure, PATIENCE), 0);
	xy_client_close(secure);
	xy_client_close(plain);
}

/* Its own echo: each message is under way in both directions while the next is sent. */
static void test_large_messages_go_both_ways_at_once(void **state)
{
	struct xy_client *client = client_open((struct xy_client_options){0});
	unsigned count = (unsigned)test_scaled(8) ?: 1;
	uint8_t *data = malloc(LARGE);
	struct xy_message message;
	struct xy_topic *topic;

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < LARGE; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	subscribe(client, "large", NULL, NULL);
	topic = declare(client, "large");
	for (unsigned i = 0; i < count; i++) {
		memcpy(data, &i, sizeof(i));
		assert_int_equal(xy_client_publish(client, topic, data, LARGE), 0);
	}
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(xy_client_next(client, PATIENCE, &message), 0);
		memcpy(data, &i, sizeof(i));
		assert_int_equal(message.length, LARGE);
		assert_memory_equal(message.data, data, LARGE);
	}
	xy_client_close(client);
	free(data);
}

struct answered {
	unsigned requests, replies;
};

static void answer(struct xy_client *client, const struct xy_message *message, void *context)
{
	struct answered *answered = context;

	answered->requests++;
	assert_int_equal(xy_client_reply(client, message, message->data, message->length), 0);
}

static void take_reply(struct xy_client *client, const struct xy_message *message, void *context)
{
	struct answered *answered = context;

	if (message == NULL)
		fail_msg("%s", xy_client_error(client));
	answered->replies++;
}

/* Nothing but the two descriptors says when there is something to do. */
static void test_event_loops_miss_nothing(void **state)
{
	struct xy_client *asks = client_open((struct xy_client_options){0});
	struct xy_client *answers = client_open((struct xy_client_options){0});
	unsigned rounds = (unsigned)test_scaled(2000) ?: 1;
	struct answered answered = {0};
	static uint8_t data[20000];
	struct xy_topic *topic;
	unsigned asked = 0;

	(void)state;
	subscribe(answers, "ask", answer, &answered);
	topic = declare(asks, "ask");
	while (answered.replies < rounds) {
		struct pollfd p[] = {{.fd = xy_client_fd(asks), .events = POLLIN},
				     {.fd = xy_client_fd(answers), .events = POLLIN}};

		/* Up to 16 at a time, of lengths that fit no record. */
		for (; asked < rounds && asked < answered.replies + 16; asked++)
			assert_int_equal(xy_client_request_async(asks, topic, data,
								 asked * 97 % sizeof(data), -1,
								 take_reply, &answered),
					 0);
		assert_true(poll(p, 2, PATIENCE) > 0);
		if (p[0].revents)
			assert_int_equal(xy_client_process(asks), 0);
		if (p[1].revents)
			assert_int_equal(xy_client_process(answers), 0);
	}
	assert_int_equal(answered.requests, rounds);
	xy_client_close(asks);
	xy_client_close(answers);
}

/* ---- commands -------------------------------------------------------------------------------- */

static bool subscribed(const struct proxy *proxy, const char *pattern)
{
	json_t *status = status_take(proxy), *entry;
	bool found = false;
	size_t at;

	json_array_foreach(json_object_get(status, "subscriptions"), at, entry) found |=
		strcmp(json_string_value(json_object_get(entry, "subject")), pattern) == 0;
	json_decref(status);
	return found;
}

static void await_subscription(const struct proxy *proxy, const char *pattern)
{
	uint64_t deadline = test_now_ms() + PATIENCE;

	while (!subscribed(proxy, pattern) && test_now_ms() < deadline)
		poll(NULL, 0, 5);
	assert_true(subscribed(proxy, pattern));
}

static void test_commands_go_over_tls(void **state)
{
	struct proxy *proxy = *state;
	struct running running;

	running = start(
		NULL, STRINGS("sub", "-s", SERVER, "--tls-ca", ca_path, "--count", "1", "words.>"));
	await_subscription(proxy, "words.>");
	RUN("pub", "-s", BY_NAME, "--tls-ca", ca_path, "words.x", "three apples");
	ended(OK);
	finish(running);
	ended(OK);
	says(outcome.out, STRINGS("three apples"));
	running = start(NULL, STRINGS("reply", "-s", SERVER, "--tls-ca", ca_path, "--echo",
				      "--count", "1", "ask.x"));
	await_subscription(proxy, "ask.x");
	RUN("request", "-s", SERVER, "--tls-ca", ca_path, "ask.x", "how");
	ended(OK);
	finish(running);
	ended(OK);
	RUN("bench", "-s", SERVER, "--tls-ca", ca_path, "--count", "500", "--json");
	ended(OK);
	says(outcome.out, STRINGS("\"work\":\"publish\"", "\"good\":true"));
}

static void test_the_environment_serves_commands_too(void **state)
{
	(void)state;
	setenv("XYLEM_SERVER", BY_NAME, 1);
	setenv("XYLEM_TLS_CA", ca_path, 1);
	RUN("pub", "words.x", "text");
	ended(OK);
	setenv("XYLEM_TLS_NAME", "elsewhere.example", 1);
	RUN("pub", "words.x", "text");
	ended(UNREACHABLE);
	SAYS("xylem pub: cannot connect to tls:localhost:7443: ", "is not for 'elsewhere.example'");
	unsetenv("XYLEM_TLS_NAME");
	unsetenv("XYLEM_TLS_CA");
	unsetenv("XYLEM_SERVER");
}

static void test_commands_say_what_is_wrong(void **state)
{
	struct proxy *proxy = *state;
	char plain[64];

	/* A certificate that this system does not know, and one that is asked for in vain. */
	RUN("pub", "-s", SERVER, "a", "b");
	ended(UNREACHABLE);
	SAYS("is not signed by one that this system trusts", "XYLEM_TLS_CA");
	RUN("pub", "-s", SERVER, "--tls-ca", stranger_path, "a", "b");
	ended(UNREACHABLE);
	SAYS("is not signed by one in", stranger_path);
	/* TLS at a port without, and the reverse. */
	snprintf(plain, sizeof(plain), "tls:%s", proxy_server(proxy));
	RUN("pub", "-s", plain, "--tls-ca", ca_path, "a", "b");
	ended(UNREACHABLE);
	SAYS(plain, "speaks no TLS");
	RUN("pub", "-s", SERVER + strlen("tls:"), "a", "b");
	ended(UNREACHABLE);
	SAYS("speaks TLS");
	/* What is wrong here is a matter of usage. */
	RUN("pub", "-s", proxy_server(proxy), "--tls-ca", ca_path, "a", "b");
	ended(USAGE);
	SAYS("without TLS", "tls:HOST:PORT");
	RUN("pub", "-s", SERVER, "--tls-ca", "/nowhere", "a", "b");
	ended(USAGE);
	SAYS("/nowhere: No such file");
	RUN("pub", "-s", SERVER, "--tls-cert", cert_path, "a", "b");
	ended(USAGE);
	SAYS("needs its key");
}

/* ---- who it is ------------------------------------------------------------------------------- */

static void test_a_certificate_says_who_it_is(void **state)
{
	(void)state;
#define AS_TILL "-s", SERVER, "--tls-ca", ca_path, "--tls-cert", cert_path, "--tls-key", key_path
	RUN("pub", AS_TILL, "orders.new", "text");
	ended(OK);
	RUN("pub", AS_TILL, "words.x", "text");
	ended(FAILURE);
	SAYS("forbidden");
	/* Without it, others' rules hold. */
	RUN("pub", "-s", SERVER, "--tls-ca", ca_path, "orders.new", "text");
	ended(FAILURE);
	SAYS("forbidden");
	/* One that a stranger has signed is refused. */
	cert_write(cert_path, 0644, stranger_cert->pem);
	cert_write(key_path, 0600, stranger_cert->key_pem);
	RUN("pub", AS_TILL, "orders.new", "text");
	ended(UNREACHABLE);
	SAYS("refuses the certificate in", cert_path);
	cert_write(cert_path, 0644, client_cert->pem);
	cert_write(key_path, 0600, client_cert->key_pem);
}

/* Another proxy, which lets in nobody without one. */
static void test_who_must_show_a_certificate_is_told_so(void **state)
{
	const char *server = "tls:127.0.0.1:7444";
	struct running running =
		start(NULL, STRINGS("serve", "--kernel-path", "off", "--listen", server,
				    "--instance", "strict", "--tls-cert", proxy_cert_path,
				    "--tls-key", proxy_key_path, "--tls-ca", clients_ca_path,
				    "--anonymous", "none", "--config", config_path));

	(void)state;
	await(running, "event=started");
	RUN("pub", "-s", server, "--tls-ca", ca_path, "orders.new", "text");
	ended(UNREACHABLE);
	SAYS("refused", "--tls-cert", "--tls-key", "--token-file");
	RUN("pub", "-s", server, "--tls-ca", ca_path, "--tls-cert", cert_path, "--tls-key",
	    key_path, "orders.new", "text");
	ended(OK);
	kill(running.pid, SIGTERM);
	finish(running);
	ended(OK);
}

/* ---- a proxy that ends ----------------------------------------------------------------------- */

/* One after the other both authorities sign for the proxy. */
static void rotate(void)
{
	static bool later;
	struct cert *issuer = later ? ca : successor_ca;
	struct cert *cert = cert_make(&(struct cert_options){
		.alternatives = "DNS:localhost,IP:127.0.0.1", .issuer = issuer});

	later = !later;
	cert_write(proxy_cert_path, 0644, cert->pem);
	cert_write(proxy_key_path, 0600, cert->key_pem);
	cert_write(ca_path, 0644, issuer->pem);
	cert_free(cert);
}

static void comes_back(struct proxy *proxy, int signal)
{
	struct running running = start(
		NULL, STRINGS("sub", "-s", SERVER, "--tls-ca", ca_path, "--count", "2", "back.>"));

	await_subscription(proxy, "back.>");
	RUN("pub", "-s", SERVER, "--tls-ca", ca_path, "back.x", "before");
	ended(OK);
	rotate();
	proxy_end(proxy, signal);
	proxy_restart(proxy);
	await(running, "connected again");
	RUN("pub", "-s", SERVER, "--tls-ca", ca_path, "back.x", "after");
	ended(OK);
	finish(running);
	ended(OK);
	says(outcome.out, STRINGS("before", "after"));
	says(outcome.err, STRINGS("connection lost; trying again"));
}

static void test_clients_come_back_to_another_certificate(void **state)
{
	comes_back(*state, SIGTERM);
}

static void test_clients_of_a_killed_proxy_come_back(void **state)
{
	comes_back(*state, SIGKILL);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static const char config[] =
	"{\"access\": {\"identities\": {"
	"\"anonymous\": {\"publish\": {\"allow\": [\">\"], \"deny\": [\"orders.>\"]},"
	" \"subscribe\": [\">\"], \"direct\": [\">\"]},"
	"\"shop.till\": {\"publish\": [\"orders.>\"]}}}}";

static void name(char path[128], const char *file)
{
	snprintf(path, 128, "%s", in_directory(file));
}

static void make_files(void)
{
	const struct cert_options authority = {.name = "authority", .is_ca = true};

	name(proxy_cert_path, "proxy.pem");
	name(proxy_key_path, "proxy-key.pem");
	name(clients_ca_path, "clients-ca.pem");
	name(ca_path, "ca.pem");
	name(cert_path, "cert.pem");
	name(key_path, "key.pem");
	name(stranger_path, "stranger.pem");
	name(config_path, "config.json");
	ca = cert_make(&authority);
	successor_ca = cert_make(&authority);
	client_cert =
		cert_make(&(struct cert_options){.alternatives = "DNS:shop.till", .issuer = ca});
	stranger_cert = cert_make(
		&(struct cert_options){.alternatives = "DNS:shop.till", .issuer = successor_ca});
	cert_write(clients_ca_path, 0644, ca->pem);
	cert_write(cert_path, 0644, client_cert->pem);
	cert_write(key_path, 0600, client_cert->key_pem);
	cert_write(stranger_path, 0644, stranger_cert->pem);
	cert_write(config_path, 0600, config);
	rotate();
}

int main(void)
{
	const char *arguments[] = {"--listen",    SERVER,         "--tls-cert", proxy_cert_path,
				   "--tls-key",   proxy_key_path, "--tls-ca",   clients_ca_path,
				   "--anonymous", "any",          "--config",   config_path,
				   NULL};
	const struct CMUnitTest tests[] = {
		proxy_test(test_lanes_and_tls_meet_and_nobody_is_a_lane_over_tls),
		proxy_test(test_large_messages_go_both_ways_at_once),
		proxy_test(test_event_loops_miss_nothing),
		proxy_test(test_commands_go_over_tls),
		proxy_test(test_the_environment_serves_commands_too),
		proxy_test(test_commands_say_what_is_wrong),
		proxy_test(test_a_certificate_says_who_it_is),
		proxy_test(test_who_must_show_a_certificate_is_told_so),
		proxy_test(test_clients_come_back_to_another_certificate),
		proxy_test(test_clients_of_a_killed_proxy_come_back),
	};
	int failed;

	directory_make();
	make_files();
	failed = proxy_run_both(tests, arguments);
	cert_free(ca);
	cert_free(successor_ca);
	cert_free(client_cert);
	cert_free(stranger_cert);
	directory_remove();
	return failed;
}
