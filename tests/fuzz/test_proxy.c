/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole proxy, in this process and in user space, fed by one client after the other: whatever
 * comes, it answers whole frames, ends the connection in the end, and greets the next client.
 *
 * Input: a byte of ways (modulo 3): 0 the rest is the stream from its first byte on; 1 the rest is
 * lines for the admin socket; 2 a greeted client with topics and a subscription sends a frame for
 * each record (make_frame()), and its half of the connection ends.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "core/server.h"
#include "edge/admin.h"
#include "proto/frame.h"
#include "proto/json.h"

#define TIMEOUT_MS 20000
#define STREAM_MAX (256u << 10)
#define ANSWER_MAX (4u << 20)
#define LINE_MAX_  4096

static struct {
	struct xy_server *server;
	struct xy_admin *admin;
	char client_path[64], admin_path[64];
} proxy;

static uint8_t stream[STREAM_MAX], answers[ANSWER_MAX];

/* ---- the proxy ------------------------------------------------------------------------------- */

static void proxy_end(void)
{
	xy_admin_stop(proxy.admin);
	xy_server_stop(proxy.server);
	xy_admin_free(proxy.admin);
	xy_server_free(proxy.server);
	unlink(proxy.client_path);
}

static void proxy_begin(void)
{
	char address[sizeof(proxy.client_path) + 8], instance[32], why[256] = "";
	const char *listen[] = {address};
	struct xy_server_options options = {.size = sizeof(options),
					    .listen = listen,
					    .listens = 1,
					    .kernel_path = XY_KERNEL_PATH_OFF,
					    .instance = instance,
					    .loops = 1,
					    .max_connections = 64};
	sigset_t all;

	xy_log_set_level(XY_LOG_ERROR);
	snprintf(instance, sizeof(instance), "fuzz-%d", (int)getpid());
	snprintf(proxy.client_path, sizeof(proxy.client_path), "/tmp/xylem-%s.sock", instance);
	snprintf(proxy.admin_path, sizeof(proxy.admin_path), "/tmp/xylem-%s-admin.sock", instance);
	snprintf(address, sizeof(address), "unix:%s", proxy.client_path);
	fuzz_check(xy_server_new(&options, &proxy.server) == XY_EXIT_OK);
	fuzz_check(xy_admin_new(proxy.admin_path, &proxy.admin, why, sizeof(why)) == 0);
	fuzz_check(xy_server_start(proxy.server) == XY_EXIT_OK);
	fuzz_check(xy_admin_start(proxy.admin, xy_server_core(proxy.server), NULL) == 0);
	/* Signals are for whoever runs the fuzzer. */
	sigemptyset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	atexit(proxy_end);
}

static int reach(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fuzz_check(fd >= 0);
	memcpy(address.sun_path, path, strlen(path));
	fuzz_check(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

/* Sends everything and its end, and reads to the end: the bytes that came. */
static size_t talk(int fd, const uint8_t *data, size_t size)
{
	size_t sent = 0, got = 0;
	bool ended = false;
	ssize_t n;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = sent < size ? POLLIN | POLLOUT : POLLIN};

		if (sent == size && !ended) {
			shutdown(fd, SHUT_WR);
			ended = true;
		}
		fuzz_check(poll(&p, 1, TIMEOUT_MS) == 1);
		if (p.revents & POLLOUT) {
			n = send(fd, data + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n >= 0)
				sent += (size_t)n;
			else if (errno != EAGAIN)
				sent = size; /* it has closed, and will be read to its end */
		}
		if (!(p.revents & (POLLIN | POLLHUP | POLLERR)))
			continue;
		n = recv(fd, answers + got, ANSWER_MAX - got, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n <= 0)
			break;
		got += (size_t)n;
		/* What a client gets for what it sends is bounded. */
		fuzz_check(got < ANSWER_MAX);
	}
	close(fd);
	return got;
}

/* ---- clients --------------------------------------------------------------------------------- */

static void check_frames(const uint8_t *at, size_t left, uint64_t endpoint)
{
	while (left > 0) {
		struct xy_frame frame;
		struct xy_error_info info;

		fuzz_check(left >= XY_HEADER_SIZE);
		xy_frame_decode(at, &frame);
		fuzz_check(frame.length >= XY_HEADER_SIZE && frame.length <= left);
		fuzz_check(frame.version == XY_WIRE_VERSION);
		switch (frame.type) {
		case XY_ERROR:
			fuzz_check(xy_error_decode(at + XY_HEADER_SIZE,
						   frame.length - XY_HEADER_SIZE, &info,
						   NULL) == 0);
			fuzz_check(xy_error_from_text(info.code) != XY_ERROR_NONE);
			break;
		case XY_DATA:
			fuzz_check(frame.source == endpoint && endpoint != 0);
			fuzz_check(xy_frame_check_data(&frame, XY_MESSAGE_MAX_DEFAULT) ==
				   XY_ERROR_NONE);
			break;
		case XY_WELCOME:
		case XY_SYNCED:
		case XY_SYNC_WANTED:
		case XY_BINDING:
		case XY_OK:
		case XY_PING:
		case XY_PONG:
		case XY_GOODBYE:
			break;
		default:
			fuzz_check(!"a type that is the proxy's to send");
		}
		at += frame.length;
		left -= frame.length;
	}
}

static size_t put_frame(uint8_t *to, struct xy_frame frame, const void *payload, size_t length)
{
	frame.length = (uint32_t)(XY_HEADER_SIZE + length);
	frame.version = XY_WIRE_VERSION;
	xy_frame_encode(&frame, to);
	if (length > 0)
		memcpy(to + XY_HEADER_SIZE, payload, length);
	return frame.length;
}

static void send_frame(int fd, struct xy_frame frame, const char *payload)
{
	uint8_t bytes[512];
	size_t length = put_frame(bytes, frame, payload, strlen(payload));

	fuzz_check(send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length);
}

/* Skips what the proxy may say at any time. */
static void await_frame(int fd, uint8_t type, struct xy_frame *ret_frame)
{
	uint8_t bytes[1024];

	do {
		fuzz_check(recv(fd, bytes, XY_HEADER_SIZE, MSG_WAITALL) == XY_HEADER_SIZE);
		xy_frame_decode(bytes, ret_frame);
		fuzz_check(ret_frame->type != XY_ERROR && ret_frame->length <= sizeof(bytes));
		/* To ask for nothing would wait for something. */
		if (ret_frame->length > XY_HEADER_SIZE)
			fuzz_check(recv(fd, bytes, ret_frame->length - XY_HEADER_SIZE,
					MSG_WAITALL) > 0);
	} while (ret_frame->type != type);
}

struct client {
	int fd;
	uint64_t id[4]; /* endpoint, topics, subscription */
};

static void greet(struct client *client)
{
	static const char *const topics[] = {"fuzz.a", "fuzz.b"};
	struct xy_frame frame;

	client->fd = reach(proxy.client_path);
	send_frame(client->fd, (struct xy_frame){.type = XY_HELLO},
		   "{\"name\":\"fuzz\",\"ack\":true}");
	await_frame(client->fd, XY_WELCOME, &frame);
	client->id[0] = frame.target;
	for (unsigned i = 0; i < 2; i++) {
		send_frame(client->fd,
			   (struct xy_frame){.type = XY_DECLARE, .source = client->id[0]},
			   topics[i]);
		await_frame(client->fd, XY_OK, &frame);
		client->id[1 + i] = frame.target;
	}
	send_frame(client->fd, (struct xy_frame){.type = XY_SUBSCRIBE, .source = client->id[0]},
		   "{\"subject\":\"fuzz.*\"}");
	await_frame(client->fd, XY_OK, &frame);
	client->id[3] = frame.target;
}

/* Type, flags, target (below 4: one of the ids), sequence, correlation, fragment, fragments, length
 * of the payload (2 bytes); what changes one byte of the header (2 bytes); the payload, of which
 * what the input does not have any more is zeros. */
static size_t make_frame(const struct client *client, struct fuzz_input *input, uint8_t *to,
			 size_t room)
{
	struct xy_frame frame = {.source = client->id[0]};
	size_t length, here;
	uint8_t at, value;

	frame.type = (uint8_t)fuzz_take(input, 1);
	frame.flags = (uint16_t)fuzz_take(input, 1);
	frame.target = fuzz_take(input, 1);
	if (frame.target < 4)
		frame.target = client->id[frame.target];
	frame.sequence = fuzz_take(input, 1);
	frame.correlation = fuzz_take(input, 1);
	frame.fragment = (uint16_t)fuzz_take(input, 1);
	frame.fragments = (uint16_t)fuzz_take(input, 1);
	length = fuzz_take(input, 2);
	at = (uint8_t)(fuzz_take(input, 1) % XY_HEADER_SIZE);
	value = (uint8_t)fuzz_take(input, 1);
	if (XY_HEADER_SIZE + length > room)
		return 0;
	here = length < input->size ? length : input->size;
	memset(to + XY_HEADER_SIZE, 0, length);
	put_frame(to, frame, input->data, here);
	input->data += here;
	input->size -= here;
	to[0] = (uint8_t)((XY_HEADER_SIZE + length) >> 24);
	to[1] = (uint8_t)((XY_HEADER_SIZE + length) >> 16);
	to[2] = (uint8_t)((XY_HEADER_SIZE + length) >> 8);
	to[3] = (uint8_t)(XY_HEADER_SIZE + length);
	to[at] ^= value;
	return XY_HEADER_SIZE + length;
}

static void be_client(struct fuzz_input input)
{
	struct client client;
	size_t length = 0;

	greet(&client);
	while (input.size > 0) {
		size_t frame = make_frame(&client, &input, stream + length, STREAM_MAX - length);

		if (frame == 0)
			break;
		length += frame;
	}
	check_frames(answers, talk(client.fd, stream, length), client.id[0]);
}

static void be_anybody(struct fuzz_input input)
{
	check_frames(answers, talk(reach(proxy.client_path), input.data, input.size), 0);
}

/* ---- admin ----------------------------------------------------------------------------------- */

static void be_admin(struct fuzz_input input)
{
	size_t length = talk(reach(proxy.admin_path), input.data, input.size);
	struct fuzz_input answered = {answers, length};
	unsigned asked = 0, told = 0;
	bool closed = false;

	fuzz_check(length == 0 || answers[length - 1] == '\n');
	while (answered.size > 0) {
		struct fuzz_input line = fuzz_take_line(&answered);
		json_t *json = json_loadb((const char *)line.data, line.size, 0, NULL);

		fuzz_check(json_is_object(json));
		json_decref(json);
		told++;
	}
	/* A line that is too long ends the session. */
	while (input.size > 0 && memchr(input.data, '\n', input.size) != NULL && !closed) {
		closed = fuzz_take_line(&input).size >= LINE_MAX_;
		asked += !closed;
	}
	fuzz_check(told == asked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};

	if (proxy.server == NULL)
		proxy_begin();
	switch (fuzz_take(&input, 1) % 3) {
	case 0:
		be_anybody(input);
		break;
	case 1:
		be_admin(input);
		break;
	default:
		be_client(input);
		break;
	}
	return 0;
}
