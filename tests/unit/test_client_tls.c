/* SPDX-License-Identifier: BSD-2-Clause */
/* libxylem over TLS: whom it trusts, what it says otherwise, and that nothing waits for a poll. */
#include "unit/tls_relay.h"

#include <sys/ioctl.h>
#include <sys/stat.h>

#include "client/internal.h"

#define LARGE       (4u << 20) /* bytes of a message */
#define MESSAGE     1000
#define PATIENCE_MS 20000 /* for what this machine alone has to do */

static struct fake fake;
static struct relay relay;
static char directory[] = "/tmp/xylem-tls-XXXXXX";
static char ca_path[64], cert_path[64], key_path[64];
static char why[512];
static struct cert *ca, *stranger; /* who sign */
static struct cert *server, *successor, *elsewhere, *expired, *early, *unknown, *client_cert,
	*client_unknown;
static unsigned received, events[8];
static char words[XY_WORDS_SIZE]; /* of the last error in an event */

/* ---- fixture --------------------------------------------------------------------------------- */

static struct cert *issued(const struct cert *issuer, const char *alternatives)
{
	return cert_make(&(struct cert_options){.alternatives = alternatives, .issuer = issuer});
}

static int make_certificates(void **state)
{
	const struct cert_options authority = {.name = "ca", .is_ca = true};

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(ca_path, sizeof(ca_path), "%s/ca.pem", directory);
	snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", directory);
	snprintf(key_path, sizeof(key_path), "%s/key.pem", directory);
	ca = cert_make(&authority);
	stranger = cert_make(&authority);
	server = issued(ca, "DNS:localhost,IP:127.0.0.1");
	successor = issued(stranger, "DNS:localhost");
	elsewhere = issued(ca, "DNS:elsewhere.example,IP:127.0.0.2");
	unknown = issued(stranger, "DNS:localhost");
	client_cert = issued(ca, "DNS:shop.till");
	client_unknown = issued(stranger, "DNS:shop.till");
	expired = cert_make(&(struct cert_options){
		.alternatives = "DNS:localhost", .from = -7200, .until = -3600, .issuer = ca});
	early = cert_make(&(struct cert_options){
		.alternatives = "DNS:localhost", .from = 3600, .until = 7200, .issuer = ca});
	return 0;
}

static int remove_certificates(void **state)
{
	struct cert *all[] = {ca,      stranger, server,  successor,   elsewhere,
			      expired, early,    unknown, client_cert, client_unknown};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		cert_free(all[i]);
	unlink(ca_path);
	unlink(cert_path);
	unlink(key_path);
	return rmdir(directory);
}

static void on_event(struct xy_client *client, enum xy_event event, void *context)
{
	(void)context;
	events[event]++;
	snprintf(words, sizeof(words), "%s", xy_client_error(client));
}

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	memset(&relay, 0, sizeof(relay));
	memset(events, 0, sizeof(events));
	received = 0;
	relay.cert = server;
	cert_write(ca_path, 0644, ca->pem);
	cert_write(cert_path, 0644, client_cert->pem);
	cert_write(key_path, 0600, client_cert->key_pem);
	return 0;
}

static void start(void)
{
	/* Not a heartbeat in time for a test that waits in vain. */
	fake.heartbeat_ms = 10 * FAKE_TIMEOUT_S * 1000;
	fake_start(&fake);
	relay.to = fake.port;
	relay_start(&relay);
	sends.opaque = true;
	snprintf(fake.server, sizeof(fake.server), "tls:localhost:%u", relay.port);
}

static struct xy_client *open_tls(struct xy_client_options options)
{
	start();
	options.tls_ca = ca_path;
	options.on_event = on_event;
	return fake_connect(&fake, options);
}

static void stop(struct xy_client *client)
{
	xy_client_close(client);
	relay_stop(&relay);
	fake_stop(&fake);
}

/* Connecting fails with this, and says it. */
static void refused(struct xy_client_options options, int error, const char *text)
{
	struct xy_client *client;

	options.size = sizeof(options);
	options.server = options.server ?: fake.server;
	options.connect_timeout_ms = options.connect_timeout_ms ?: FAKE_TIMEOUT_S * 1000;
	options.why = why;
	options.why_size = sizeof(why);
	memset(why, 0, sizeof(why));
	assert_int_equal(xy_client_connect(&options, &client), error);
	if (strstr(why, text) == NULL)
		fail_msg("'%s' is not in: %s", text, why);
}

static void refused_by(const struct cert *cert, const char *text)
{
	relay.cert = cert;
	start();
	refused((struct xy_client_options){.tls_ca = ca_path}, -EPROTO, text);
	stop(NULL);
}

static void take(struct xy_client *client, const struct xy_message *message, void *context)
{
	(void)client;
	(void)context;
	assert_int_equal(message->length, MESSAGE);
	received++;
}

/* Waits until so many bytes are at the client's socket. */
static void await_bytes(struct xy_client *client, int bytes)
{
	int there = 0;

	for (unsigned i = 0; there < bytes && i < FAKE_TIMEOUT_S * 1000; i++) {
		usleep(1000);
		assert_int_equal(ioctl(client->fd, FIONREAD, &there), 0);
	}
	assert_true(there >= bytes);
}

static void await_readable(struct xy_client *client)
{
	struct pollfd p = {.fd = xy_client_fd(client), .events = POLLIN};

	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

/* ---- trust ----------------------------------------------------------------------------------- */

static void a_server_that_is_trusted_is_spoken_to_by_name_and_by_address(void **state)
{
	struct xy_client *client = open_tls((struct xy_client_options){0});
	struct xy_topic *topic;

	(void)state;
	assert_int_equal(xy_client_subscribe(client, "x", NULL, NULL), 0);
	fake_bind(&fake, "x");
	fake_text(&fake, "x", 1, "hello");
	expect_text(client, "hello");
	assert_int_equal(xy_client_declare(client, "y", &topic), 0);
	assert_int_equal(xy_client_publish(client, topic, "world", 5), 0);
	assert_int_equal(xy_client_sync(client, -1), 0);
	assert_int_equal(fake_count(&fake, XY_DATA), 1);
	xy_client_close(client);
	snprintf(fake.server, sizeof(fake.server), "tls:127.0.0.1:%u", relay.port);
	client = fake_connect(&fake, (struct xy_client_options){.tls_ca = ca_path});
	stop(client);
}

static void the_environment_says_what_options_do_not(void **state)
{
	struct xy_client *client;

	(void)state;
	relay.cert = elsewhere;
	setenv("XYLEM_TLS_CA", ca_path, 1);
	setenv("XYLEM_TLS_NAME", "elsewhere.example", 1);
	start();
	client = fake_connect(&fake, (struct xy_client_options){0});
	stop(client);
	unsetenv("XYLEM_TLS_CA");
	unsetenv("XYLEM_TLS_NAME");
}

/* A process may have servers of both kinds. */
static void the_environment_says_nothing_of_a_server_without_tls(void **state)
{
	(void)state;
	setenv("XYLEM_TLS_CA", "/nowhere", 1);
	setenv("XYLEM_TLS_CERT", "/nowhere", 1);
	setenv("XYLEM_TLS_NAME", "elsewhere.example", 1);
	fake_start(&fake);
	fake_close(&fake, fake_connect(&fake, (struct xy_client_options){0}));
	unsetenv("XYLEM_TLS_CA");
	unsetenv("XYLEM_TLS_CERT");
	unsetenv("XYLEM_TLS_NAME");
}

static void a_certificate_of_a_stranger_is_refused(void **state)
{
	(void)state;
	refused_by(unknown, "is not signed by one in /tmp/xylem-tls-");
	/* The system does not trust it either. */
	start();
	refused((struct xy_client_options){0}, -EPROTO, "XYLEM_TLS_CA");
	stop(NULL);
}

static void a_certificate_for_another_name_is_refused(void **state)
{
	(void)state;
	refused_by(elsewhere, "is not for 'localhost'");
	start();
	snprintf(fake.server, sizeof(fake.server), "tls:127.0.0.1:%u", relay.port);
	refused((struct xy_client_options){.tls_ca = ca_path}, -EPROTO, "is not for '127.0.0.1'");
	stop(NULL);
	relay.cert = server;
	start();
	refused((struct xy_client_options){.tls_ca = ca_path, .tls_name = "elsewhere.example"},
		-EPROTO, "is not for 'elsewhere.example'");
	stop(NULL);
}

static void a_certificate_out_of_its_time_is_refused(void **state)
{
	(void)state;
	refused_by(expired, "is out of its time (");
	refused_by(early, "is out of its time (");
}

static void a_certificate_is_shown_to_who_asks(void **state)
{
	const struct xy_client_options shown = {
		.tls_ca = ca_path, .tls_cert = cert_path, .tls_key = key_path};
	struct xy_client *client;

	(void)state;
	relay.asked = ca;
	client = open_tls(shown);
	xy_client_close(client);
	refused((struct xy_client_options){.tls_ca = ca_path}, -EPROTO, "XYLEM_TLS_CERT");
	cert_write(cert_path, 0644, client_unknown->pem);
	cert_write(key_path, 0600, client_unknown->key_pem);
	refused(shown, -EPROTO, "refuses the certificate in");
	stop(NULL);
}

/* ---- options and files ----------------------------------------------------------------------- */

static void options_that_do_not_go_together_are_refused(void **state)
{
	const char *tls = "tls:localhost:1";
	char name[XY_TLS_NAME_MAX + 2] = "";

	(void)state;
	refused((struct xy_client_options){.server = "localhost:1", .tls_ca = ca_path}, -EINVAL,
		"without TLS");
	refused((struct xy_client_options){.server = "localhost:1", .tls_name = "x"}, -EINVAL,
		"without TLS");
	refused((struct xy_client_options){.server = "tls:unix:/tmp/x"}, -EINVAL, "UNIX");
	memset(name, 'x', sizeof(name) - 1);
	refused((struct xy_client_options){.server = tls, .tls_name = name}, -EINVAL, "255 bytes");
	refused((struct xy_client_options){.server = tls, .tls_cert = cert_path}, -EINVAL, "key");
	refused((struct xy_client_options){.server = tls, .tls_key = key_path}, -EINVAL, "key");
	refused((struct xy_client_options){.server = "tls:localhost"}, -EINVAL, "HOST:PORT");
}

static void files_that_cannot_be_are_named(void **state)
{
	const struct xy_client_options shown = {
		.tls_ca = ca_path, .tls_cert = cert_path, .tls_key = key_path};

	(void)state;
	start();
	refused((struct xy_client_options){.tls_ca = "/nowhere"}, -ENOENT, "/nowhere: ");
	refused((struct xy_client_options){.tls_ca = directory}, -EINVAL, "not a regular file");
	refused((struct xy_client_options){.tls_ca = key_path}, -EINVAL, "key.pem: ");
	chmod(ca_path, 0666);
	refused((struct xy_client_options){.tls_ca = ca_path}, -EPERM, "may write to it");
	chmod(ca_path, 0644);
	cert_write(key_path, 0644, client_cert->key_pem);
	refused(shown, -EPERM, "key.pem: others than its owner may read");
	cert_write(key_path, 0600, client_unknown->key_pem);
	refused(shown, -EINVAL, "key.pem: ");
	stop(NULL);
}

/* ---- the end of a connection ----------------------------------------------------------------- */

static void the_handshake_has_the_time_of_connecting(void **state)
{
	struct fake mute = {0};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);

	(void)state;
	/* The kernel accepts, and nobody answers. */
	mute.listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(mute.listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(mute.listener, 8), 0);
	getsockname(mute.listener, (struct sockaddr *)&address, &size);
	snprintf(mute.server, sizeof(mute.server), "tls:127.0.0.1:%u", ntohs(address.sin_port));
	refused((struct xy_client_options){.server = mute.server, .connect_timeout_ms = 50},
		-ETIMEDOUT, "no answer within 50 ms");
	close(mute.listener);
}

static void closing_says_so_to_the_server(void **state)
{
	struct xy_client *client = open_tls((struct xy_client_options){0});

	(void)state;
	xy_client_close(client);
	for (unsigned i = 0; !relay_get(&relay, &relay.farewell) && i < PATIENCE_MS; i++)
		usleep(1000);
	assert_true(relay_get(&relay, &relay.farewell));
	stop(NULL);
}

/* By the next certificate, which others have signed: files are read anew. */
static void a_stream_that_is_cut_is_a_lost_connection(void **state)
{
	struct xy_client *client = open_tls((struct xy_client_options){0});
	struct xy_message message;

	(void)state;
	assert_int_equal(xy_client_subscribe(client, "x", NULL, NULL), 0);
	relay_use(&relay, successor);
	cert_write(ca_path, 0644, stranger->pem);
	relay_cut(&relay);
	while (events[XY_EVENT_DISCONNECTED] == 0)
		assert_int_equal(xy_client_next(client, 10, &message), -ETIMEDOUT);
	assert_non_null(strstr(words, "the stream was cut"));
	while (events[XY_EVENT_RECONNECTED] == 0)
		assert_int_equal(xy_client_next(client, 10, &message), -ETIMEDOUT);
	fake_bind(&fake, "x");
	fake_text(&fake, "x", 1, "again");
	expect_text(client, "again");
	stop(client);
}

static void a_client_waits_until_its_server_is_to_be_trusted_again(void **state)
{
	struct xy_client *client = open_tls((struct xy_client_options){0});

	(void)state;
	relay_use(&relay, successor);
	relay_cut(&relay);
	/* In the event style: nothing but the descriptor says when there is something to do. */
	while (strstr(xy_client_error(client), "is not signed by one in") == NULL) {
		await_readable(client);
		assert_int_equal(xy_client_process(client), 0);
	}
	assert_int_equal(events[XY_EVENT_RECONNECTED], 0);
	cert_write(ca_path, 0644, stranger->pem);
	while (events[XY_EVENT_RECONNECTED] == 0) {
		await_readable(client);
		assert_int_equal(xy_client_process(client), 0);
	}
	stop(client);
}

/* ---- bytes that no poll tells of ------------------------------------------------------------- */

/* A member of a group reads a 32nd of the window at once, and a process() reads 16 times: it stops
 * within the record, which the socket has given out as a whole. */
static void what_is_decrypted_makes_the_descriptor_readable(void **state)
{
	enum { WINDOW = 30 << 10, SIZE = XY_HEADER_SIZE + MESSAGE, COUNT = 15 };
	struct xy_subscribe_options with = {.size = sizeof(with), .group = "g", .on_message = take};
	struct xy_client *client;
	uint8_t data[MESSAGE] = {0};

	(void)state;
	fake.window = WINDOW;
	client = open_tls((struct xy_client_options){0});
	assert_int_equal(xy_client_subscribe(client, "x", &with, NULL), 0);
	fake_bind(&fake, "x");
	assert_int_equal(xy_client_sync(client, -1), 0);
	assert_int_equal(xy_client_process(client), 0);
	relay_gather(&relay, COUNT * SIZE);
	for (unsigned i = 1; i <= COUNT; i++)
		fake_data(&fake, "x", i, data, sizeof(data));
	await_bytes(client, COUNT * SIZE + 22);
	assert_int_equal(xy_client_process(client), 0);
	assert_true(received < COUNT);
	while (received < COUNT) {
		await_readable(client);
		assert_int_equal(xy_client_process(client), 0);
	}
	stop(client);
}

/* As above, in a call that waits: SYNCED stands in the same record, behind the first 8 KiB. */
static void what_is_decrypted_ends_a_wait(void **state)
{
	enum { SIZE = XY_HEADER_SIZE + MESSAGE, COUNT = 15 };
	struct xy_subscribe_options with = {.size = sizeof(with), .group = "g", .on_message = take};
	struct xy_client *client = open_tls((struct xy_client_options){0});
	uint8_t data[MESSAGE] = {0};

	(void)state;
	assert_int_equal(xy_client_subscribe(client, "x", &with, NULL), 0);
	fake_bind(&fake, "x");
	assert_int_equal(xy_client_sync(client, -1), 0);
	fake_set(&fake, &fake.hold_synced, true);
	assert_int_equal(xy_client_sync(client, 0), -ETIMEDOUT);
	fake_await(&fake, XY_SYNC, 3);
	fake_set(&fake, &fake.hold_synced, false);
	relay_gather(&relay, COUNT * SIZE + XY_HEADER_SIZE);
	for (unsigned i = 1; i <= COUNT; i++)
		fake_data(&fake, "x", i, data, sizeof(data));
	fake_inject(&fake, (struct xy_frame){.type = XY_SYNCED, .correlation = 3}, NULL, 0);
	await_bytes(client, COUNT * SIZE + XY_HEADER_SIZE + 22);
	assert_int_equal(xy_client_sync(client, PATIENCE_MS), 0);
	assert_int_equal(xy_client_process(client), 0);
	assert_int_equal(received, COUNT);
	stop(client);
}

/* What TLS has taken and the socket has not is not sent yet. */
static void a_flush_ends_when_the_kernel_has_everything(void **state)
{
	struct xy_client *client = open_tls((struct xy_client_options){0});
	uint8_t data[MESSAGE] = {0};
	struct xy_topic *topic;

	(void)state;
	assert_int_equal(xy_client_declare(client, "x", &topic), 0);
	sends.cut = 100;
	assert_int_equal(xy_client_publish(client, topic, data, sizeof(data)), 0);
	assert_int_equal(xy_client_flush(client, FAKE_TIMEOUT_S * 1000), 0);
	assert_int_equal(sends.cut, 0);
	assert_int_equal(xy_tls_unsent(client->tls), 0);
	fake_await(&fake, XY_DATA, 1);
	stop(client);
}

/* In the event style likewise: the descriptor tells when it can go on. */
static void what_the_socket_did_not_take_makes_the_descriptor_readable(void **state)
{
	struct xy_client *client = open_tls((struct xy_client_options){0});
	uint8_t data[MESSAGE] = {0};
	struct xy_topic *topic;

	(void)state;
	assert_int_equal(xy_client_declare(client, "x", &topic), 0);
	sends.cut = 100;
	assert_int_equal(xy_client_publish(client, topic, data, sizeof(data)), 0);
	await_readable(client);
	assert_int_equal(xy_client_process(client), 0);
	assert_int_equal(client->data.tail, 0);
	assert_true(xy_tls_unsent(client->tls) > 0);
	await_readable(client);
	assert_int_equal(xy_client_process(client), 0);
	fake_await(&fake, XY_DATA, 1);
	stop(client);
}

/* ---- both ways at once ----------------------------------------------------------------------- */

static void *feed_large(void *data)
{
	const uint16_t fragments = LARGE / XY_PAYLOAD_MAX;

	for (uint64_t sequence = 1; sequence <= 4; sequence++)
		for (uint16_t i = 0; i < fragments; i++)
			fake_inject(&fake,
				    (struct xy_frame){.type = XY_DATA,
						      .target = fake_topic_id("x"),
						      .source = FAKE_PEER,
						      .sequence = sequence,
						      .fragment = i,
						      .fragments = fragments},
				    data, XY_PAYLOAD_MAX);
	return NULL;
}

/* The proxy of the test does not read while it writes: who does not read while he writes stands. */
static void large_messages_go_both_ways_at_once(void **state)
{
	struct xy_client *client = open_tls((struct xy_client_options){0});
	uint8_t *data = malloc(LARGE);
	struct xy_message message;
	struct xy_topic *topic;
	pthread_t feeder;
	size_t fragments;

	(void)state;
	for (size_t i = 0; i < LARGE; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	assert_int_equal(xy_client_subscribe(client, "x", NULL, NULL), 0);
	fake_bind(&fake, "x");
	assert_int_equal(xy_client_declare(client, "y", &topic), 0);
	assert_int_equal(pthread_create(&feeder, NULL, feed_large, data), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(xy_client_publish(client, topic, data, LARGE), 0);
	assert_int_equal(xy_client_flush(client, FAKE_TIMEOUT_S * 1000), 0);
	for (uint64_t sequence = 1; sequence <= 4; sequence++) {
		assert_int_equal(xy_client_next(client, FAKE_TIMEOUT_S * 1000, &message), 0);
		assert_int_equal(message.sequence, sequence);
		assert_int_equal(message.length, LARGE / XY_PAYLOAD_MAX * XY_PAYLOAD_MAX);
		assert_memory_equal(message.data, data, XY_PAYLOAD_MAX);
	}
	pthread_join(feeder, NULL);
	fragments = (LARGE + XY_PAYLOAD_MAX - 1) / XY_PAYLOAD_MAX;
	fake_await(&fake, XY_DATA, 4 * fragments);
	for (size_t i = 0; i < 4 * fragments; i++) {
		struct fake_frame frame = fake_frame(&fake, XY_DATA, i);

		assert_int_equal(frame.header.fragment, i % fragments);
		assert_memory_equal(frame.payload, data + i % fragments * XY_PAYLOAD_MAX,
				    frame.header.length - XY_HEADER_SIZE);
	}
	stop(client);
	free(data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(a_server_that_is_trusted_is_spoken_to_by_name_and_by_address),
		TEST(the_environment_says_what_options_do_not),
		TEST(the_environment_says_nothing_of_a_server_without_tls),
		TEST(a_certificate_of_a_stranger_is_refused),
		TEST(a_certificate_for_another_name_is_refused),
		TEST(a_certificate_out_of_its_time_is_refused),
		TEST(a_certificate_is_shown_to_who_asks),
		TEST(options_that_do_not_go_together_are_refused),
		TEST(files_that_cannot_be_are_named),
		TEST(the_handshake_has_the_time_of_connecting),
		TEST(closing_says_so_to_the_server),
		TEST(a_stream_that_is_cut_is_a_lost_connection),
		TEST(a_client_waits_until_its_server_is_to_be_trusted_again),
		TEST(what_is_decrypted_makes_the_descriptor_readable),
		TEST(what_is_decrypted_ends_a_wait),
		TEST(a_flush_ends_when_the_kernel_has_everything),
		TEST(what_the_socket_did_not_take_makes_the_descriptor_readable),
		TEST(large_messages_go_both_ways_at_once),
	};

	return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
