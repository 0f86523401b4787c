/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses and sockets. Uses loopback and a directory of its own. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/net.h"

static char directory[] = "/tmp/xylem-net-XXXXXX";
static char path[64], unix_text[80];

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/socket", directory);
	snprintf(unix_text, sizeof(unix_text), "unix:%s", path);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static struct xy_address parsed(const char *text)
{
	struct xy_address address;
	char why[200] = "";
	int n = xy_address_parse(text, &address, 1, why, sizeof(why));

	if (n != 1)
		fail_msg("%s: %d %s", text, n, why);
	return address;
}

static struct xy_address local_of(int fd)
{
	struct xy_address address;

	assert_int_equal(xy_net_local(fd, &address), 0);
	return address;
}

/* The port lies at the same place in both. */
static uint16_t port_of(const struct xy_address *address)
{
	return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
}

static void addresses_go_both_ways(void **state)
{
	static const char *const texts[] = {"127.0.0.1:7400",       "0.0.0.0:0",
					    "[::1]:65535",          "[::]:1",
					    "unix:/run/xylem.sock", "unix:relative"};
	char text[XY_ADDRESS_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct xy_address address = parsed(texts[i]);

		assert_string_equal(xy_address_text(&address, text, sizeof(text)), texts[i]);
	}
}

static void bad_addresses_are_refused_with_a_sentence(void **state)
{
	static const char *const texts[] = {"",
					    "7400",
					    ":7400",
					    "127.0.0.1",
					    "127.0.0.1:",
					    "::1:7400",
					    "[::1]",
					    "[::1]7400",
					    "[::1:7400",
					    "[]:1",
					    "unix:",
					    "127.0.0.1:x",
					    "127.0.0.1:-1",
					    "127.0.0.1:65536",
					    "127.0.0.1:100000",
					    "[127.0.0.1]:1",
					    "[localhost]:1",
					    "127.0.0.1:1 "};
	struct xy_address address;
	char why[200];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		why[0] = '\0';
		if (xy_address_parse(texts[i], &address, 1, why, sizeof(why)) != -EINVAL)
			fail_msg("'%s' was not refused", texts[i]);
		assert_true(strlen(why) > 10);
		assert_int_equal(xy_address_parse(texts[i], &address, 1, NULL, 0), -EINVAL);
	}
}

static void path_fits_or_is_refused(void **state)
{
	struct xy_address address;
	char text[200] = "unix:", back[XY_ADDRESS_TEXT_SIZE], why[200];
	size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	(void)state;
	memset(text + 5, 'p', most);
	address = parsed(text);
	assert_string_equal(xy_address_text(&address, back, sizeof(back)), text);
	text[5 + most] = 'p';
	assert_int_equal(xy_address_parse(text, &address, 1, why, sizeof(why)), -ENAMETOOLONG);
	assert_non_null(strstr(why, "107"));
}

static void name_may_stand_for_several_addresses(void **state)
{
	struct xy_address addresses[8];
	int n;

	(void)state;
	n = xy_address_parse("localhost:7400", addresses, 8, NULL, 0);
	assert_true(n >= 1 && n <= 8);
	for (int i = 0; i < n; i++)
		assert_int_equal(port_of(&addresses[i]), 7400);
	assert_int_equal(xy_address_parse("localhost:7400", addresses, 1, NULL, 0), 1);
}

static void assert_flags(int fd)
{
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* Connects to a listener and accepts; both ends. */
static void connect_to(int listener, int *ret_client, int *ret_server, struct xy_address *ret_peer)
{
	struct xy_address address = local_of(listener);
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	int r = xy_net_connect(&address, ret_client);

	assert_true(r == 0 || r == 1);
	assert_int_equal(poll(&ready, 1, -1), 1);
	assert_int_equal(xy_net_accept(listener, ret_peer, ret_server), 0);
	ready = (struct pollfd){.fd = *ret_client, .events = POLLOUT};
	assert_int_equal(poll(&ready, 1, -1), 1);
	assert_int_equal(xy_net_connect_result(*ret_client), 0);
	assert_flags(*ret_client);
	assert_flags(*ret_server);
}

static void tcp_listens_connects_and_names_the_peer(void **state)
{
	struct xy_address address = parsed("127.0.0.1:0"), peer, own;
	char a[XY_ADDRESS_TEXT_SIZE], b[XY_ADDRESS_TEXT_SIZE];
	int listener, client, server, value;
	socklen_t length = sizeof(value);

	(void)state;
	assert_int_equal(xy_net_listen(&address, 16, &listener), 0);
	assert_flags(listener);
	assert_int_equal(xy_net_accept(listener, NULL, &server), -EAGAIN);
	connect_to(listener, &client, &server, &peer);
	own = local_of(client);
	assert_string_equal(xy_address_text(&peer, a, sizeof(a)),
			    xy_address_text(&own, b, sizeof(b)));
	assert_string_equal(xy_net_peer_text(server, a, sizeof(a)), b);

	assert_int_equal(xy_net_set_nodelay(server), 0);
	assert_int_equal(getsockopt(server, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
	assert_true(value);
	assert_int_equal(getsockopt(server, SOL_SOCKET, SO_PROTOCOL, &value, &length), 0);
	assert_int_equal(value, IPPROTO_TCP);
	assert_int_equal(xy_net_set_buffers(server, 20000, 0), 0);
	assert_int_equal(xy_net_set_buffers(server, 0, 30000), 0);
	assert_int_equal(getsockopt(server, SOL_SOCKET, SO_RCVBUF, &value, &length), 0);
	assert_int_equal(value, 40000);
	assert_int_equal(getsockopt(server, SOL_SOCKET, SO_SNDBUF, &value, &length), 0);
	assert_int_equal(value, 60000);
	close(client);
	close(server);

	/* Somebody listens there. And once nobody does, connections in TIME_WAIT are no hindrance.
	 */
	address = local_of(listener);
	assert_int_equal(xy_net_listen(&address, 16, &server), -EADDRINUSE);
	xy_net_unlisten(listener);
	assert_int_equal(xy_net_listen(&address, 16, &listener), 0);
	xy_net_unlisten(listener);
}

static void refused_connection_is_reported(void **state)
{
	struct xy_address address = parsed("127.0.0.1:0");
	struct pollfd ready = {.events = POLLOUT};
	int listener, r;

	(void)state;
	assert_int_equal(xy_net_listen(&address, 1, &listener), 0);
	address = local_of(listener);
	xy_net_unlisten(listener);
	r = xy_net_connect(&address, &ready.fd);
	if (r == 1) {
		assert_int_equal(poll(&ready, 1, -1), 1);
		r = xy_net_connect_result(ready.fd);
		close(ready.fd);
	}
	assert_int_equal(r, -ECONNREFUSED);
}

static void ipv6_listener_leaves_ipv4_alone(void **state)
{
	struct xy_address address = parsed("[::]:0"), four = parsed("0.0.0.0:0");
	int six_fd, four_fd, r;

	(void)state;
	r = xy_net_listen(&address, 1, &six_fd);
	if (r == -EAFNOSUPPORT) {
		print_message("no IPv6 on this machine\n");
		skip();
	}
	assert_int_equal(r, 0);
	((struct sockaddr_in *)&four.storage)->sin_port =
		htons(port_of(&(struct xy_address){.storage = local_of(six_fd).storage}));
	assert_int_equal(xy_net_listen(&four, 1, &four_fd), 0);
	xy_net_unlisten(four_fd);
	xy_net_unlisten(six_fd);
}

static void unix_listens_connects_and_leaves_nothing(void **state)
{
	struct xy_address address = parsed(unix_text), peer;
	char text[XY_ADDRESS_TEXT_SIZE], pid[32];
	int listener, client, server;

	(void)state;
	assert_int_equal(xy_net_listen(&address, 16, &listener), 0);
	assert_flags(listener);
	connect_to(listener, &client, &server, &peer);
	assert_string_equal(xy_address_text(&peer, text, sizeof(text)), "unix:");
	snprintf(pid, sizeof(pid), "unix:pid=%d", (int)getpid());
	assert_string_equal(xy_net_peer_text(server, text, sizeof(text)), pid);
	assert_string_equal(xy_net_peer_text(client, text, sizeof(text)), unix_text);
	close(client);
	close(server);
	xy_net_unlisten(listener);
	assert_int_equal(access(path, F_OK), -1);
}

static void stale_unix_socket_is_replaced(void **state)
{
	struct xy_address address = parsed(unix_text);
	int listener, client, server;

	(void)state;
	assert_int_equal(xy_net_listen(&address, 1, &listener), 0);
	/* As after a crash: the file stays. */
	close(listener);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(xy_net_listen(&address, 1, &listener), 0);
	connect_to(listener, &client, &server, NULL);
	close(client);
	close(server);
	xy_net_unlisten(listener);
}

static void live_unix_socket_is_left_alone(void **state)
{
	struct xy_address address = parsed(unix_text);
	int listener, second, client, server;

	(void)state;
	assert_int_equal(xy_net_listen(&address, 1, &listener), 0);
	assert_int_equal(xy_net_listen(&address, 1, &second), -EADDRINUSE);
	/* The probe was a connection. */
	assert_int_equal(xy_net_accept(listener, NULL, &server), 0);
	close(server);
	connect_to(listener, &client, &server, NULL);
	close(client);
	close(server);
	/* A full backlog is alive, too. */
	while (xy_net_connect(&address, &client) == 0)
		continue;
	assert_int_equal(xy_net_listen(&address, 1, &second), -EADDRINUSE);
	xy_net_unlisten(listener);
}

static void file_that_is_no_socket_is_left_alone(void **state)
{
	struct xy_address address = parsed(unix_text);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600), listener;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(xy_net_listen(&address, 1, &listener), -EEXIST);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
	/* Also what a link points to. */
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(xy_net_listen(&address, 1, &listener), -EEXIST);
	unlink(path);
}

static void only_a_listener_can_be_taken(void **state)
{
	struct xy_address address = parsed("127.0.0.1:0"), bound;
	int fd, pair[2];

	(void)state;
	assert_int_equal(xy_net_bind(&address, &fd), 0);
	assert_int_equal(xy_net_take(fd, &bound), -EINVAL); /* not listening */
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	assert_int_equal(xy_net_take(fd, &bound), 0);
	address = local_of(fd);
	assert_int_equal(port_of(&bound), port_of(&address));
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	close(fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	assert_int_equal(xy_net_take(pair[0], &bound), -EINVAL);
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(pipe(pair), 0);
	assert_int_equal(xy_net_take(pair[0], &bound), -ENOTSOCK);
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(xy_net_take(pair[0], &bound), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_go_both_ways),
		cmocka_unit_test(bad_addresses_are_refused_with_a_sentence),
		cmocka_unit_test(path_fits_or_is_refused),
		cmocka_unit_test(name_may_stand_for_several_addresses),
		cmocka_unit_test(tcp_listens_connects_and_names_the_peer),
		cmocka_unit_test(refused_connection_is_reported),
		cmocka_unit_test(ipv6_listener_leaves_ipv4_alone),
		cmocka_unit_test(unix_listens_connects_and_leaves_nothing),
		cmocka_unit_test(stale_unix_socket_is_replaced),
		cmocka_unit_test(live_unix_socket_is_left_alone),
		cmocka_unit_test(file_that_is_no_socket_is_left_alone),
		cmocka_unit_test(only_a_listener_can_be_taken),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
