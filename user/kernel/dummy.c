/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include <xylem/wire.h>

#include "base/bytes.h"
#include "kernel/session.h"
#include "kernel/ward.h"

#define PATIENCE_MS                                                                   \
	5000 /* for what takes microseconds; only where something is broken it passes \
	      */
#define ENDPOINTS UINT64_C(0xd0c7000000000000) /* any number: nobody else is here */

/* One process, one thread: what is sent, and what has come. */
static uint8_t sent[XY_FRAME_MAX], received[XY_FRAME_MAX];

/* ---- sockets --------------------------------------------------------------------------------- */

bool xy_door_open(struct xy_door *door, int family, struct xy_finding *finding)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&door->address;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&door->address;

	*door = (struct xy_door){.address.ss_family = (sa_family_t)family};
	if (family == AF_INET) {
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		door->length = sizeof(*v4);
	} else {
		v6->sin6_addr = in6addr_loopback;
		door->length = sizeof(*v6);
	}
	door->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (door->fd >= 0 && !bind(door->fd, (struct sockaddr *)&door->address, door->length) &&
	    !listen(door->fd, 16) &&
	    !getsockname(door->fd, (struct sockaddr *)&door->address, &door->length))
		return true;
	return xy_found_no(finding, "no TCP on the loopback address %s: %s",
			   family == AF_INET ? "127.0.0.1" : "::1", strerror(errno));
}

static bool send_all(int fd, const void *data, size_t size, struct xy_finding *finding)
{
	ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n == (ssize_t)size)
		return true;
	if (n >= 0)
		return xy_found_no(finding, "of a send of %zu bytes only %zd were taken", size, n);
	return xy_found_no(finding, "a send of %zu bytes failed: %s", size, strerror(errno));
}

/* With poll and plain recv, as a client on a lane reads (K16). */
static bool receive_all(int fd, void *to, size_t size, struct xy_finding *finding)
{
	for (size_t at = 0; at < size;) {
		struct pollfd polled = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&polled, 1, PATIENCE_MS) != 1)
			return xy_found_no(finding, "of %zu bytes only %zu arrived", size, at);
		n = recv(fd, (char *)to + at, size - at, MSG_DONTWAIT);
		if (n == 0)
			return xy_found_no(finding, "the connection ended after %zu of %zu bytes",
					   at, size);
		if (n < 0 && errno != EAGAIN)
			return xy_found_no(finding, "nothing can be received: %s", strerror(errno));
		at += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void frame_put(uint8_t *to, uint8_t type, const struct xy_dummy *from, uint64_t number,
		      uint32_t size)
{
	struct xy_header header = {
		.length = xy_be32(size),
		.version = XY_WIRE_VERSION,
		.type = type,
		.source = xy_be64(from->endpoint),
	};

	if (type == XY_DATA) {
		header.target = xy_be64(XY_DUMMY_TARGET);
		header.sequence = xy_be64(number);
	} else if (type == XY_ACK) {
		header.ack = xy_be64(number);
	} else {
		header.correlation = xy_be64(number);
	}
	memcpy(to, &header, sizeof(header));
	/* Such that no frame's payload passes for a part of another's. */
	for (uint32_t i = sizeof(header); i < size; i++)
		to[i] = (uint8_t)(from->endpoint * 7 + number * 13 + i * 3);
}

static void frames_put(const struct xy_dummy *from, uint64_t sequence, unsigned frames,
		       uint32_t size)
{
	for (unsigned i = 0; i < frames; i++)
		frame_put(sent + i * size, XY_DATA, from, sequence + i, size);
}

/* A frame without payload that must come next. */
static bool expect_header(int fd, uint8_t type, const char *name, struct xy_finding *finding)
{
	struct xy_header header = {0};

	if (!receive_all(fd, &header, sizeof(header), finding))
		return false;
	if (header.type != type || xy_be32(header.length) != sizeof(header))
		return xy_found_no(finding, "something else arrived instead of %s", name);
	return true;
}

bool xy_dummy_send(struct xy_dummy *dummy, unsigned frames, uint32_t size,
		   struct xy_finding *finding)
{
	frames_put(dummy, dummy->sequence + 1, frames, size);
	if (!send_all(dummy->fd, sent, (size_t)frames * size, finding))
		return false;
	dummy->sequence += frames;
	return true;
}

int xy_dummy_try(struct xy_dummy *dummy, uint32_t size)
{
	frames_put(dummy, dummy->sequence + 1, 1, size);
	if (send(dummy->fd, sent, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size)
		return -errno;
	dummy->sequence++;
	return 0;
}

bool xy_dummy_expect(int fd, const struct xy_dummy *from, uint64_t sequence, unsigned frames,
		     uint32_t size, struct xy_finding *finding)
{
	frames_put(from, sequence, frames, size);
	if (!receive_all(fd, received, (size_t)frames * size, finding))
		return false;
	if (memcmp(received, sent, (size_t)frames * size) != 0)
		return xy_found_no(finding, "what arrived is not what was sent");
	return true;
}

bool xy_dummy_deliver(const struct xy_dummy *from, uint64_t sequence, uint32_t size,
		      const struct xy_dummy *to, struct xy_finding *finding)
{
	frames_put(from, sequence, 1, size);
	return send_all(to->proxy, sent, size, finding);
}

bool xy_dummy_ack(const struct xy_dummy *dummy, struct xy_finding *finding)
{
	frame_put(sent, XY_ACK, dummy, xy_session_sent(dummy->session), XY_HEADER_SIZE);
	return send_all(dummy->fd, sent, XY_HEADER_SIZE, finding) &&
	       expect_header(dummy->proxy, XY_ACK, "an ACK", finding);
}

/* ---- a lane's life --------------------------------------------------------------------------- */

/* What sock_ops does, for where it cannot be tried. */
static bool insert_by_hand(const struct xy_ward *ward, const struct xy_dummy *dummy,
			   struct xy_finding *finding)
{
	const struct xy_kernel *kernel = ward->kernel;
	struct xy_lane lane = {.inserted = 1};
	socklen_t length = sizeof(lane.cookie);
	uint64_t value = (uint64_t)dummy->fd;
	int error;

	if (getsockopt(dummy->fd, SOL_SOCKET, SO_COOKIE, &lane.cookie, &length))
		return xy_found_no(finding, "no socket cookie: %s", strerror(errno));
	error = bpf_map_update_elem(kernel->lane_of_fd, &dummy->fd, &lane, BPF_ANY);
	if (!error)
		error = bpf_map_update_elem(kernel->client_sockets_fd, &lane.cookie, &value,
					    BPF_ANY);
	if (!error)
		error = bpf_map_update_elem(kernel->lanes_fd, &lane.cookie, &value, BPF_ANY);
	/* Says nothing about the sockets that the proxy's own sock_ops program meets first (K10).
	 */
	if (error == -EBUSY)
		return xy_found_untried(finding,
					"let the proxy make a cgroup of its own, or see by 'xylem "
					"status' whether clients get lanes",
					"another eBPF agent takes sockets before this test can");
	if (error)
		return xy_found_no(finding, "a socket does not go into the sockmaps: %s",
				   strerror(-error));
	return true;
}

bool xy_dummy_connect(struct xy_ward *ward, const struct xy_door *door, struct xy_dummy *dummy,
		      struct xy_finding *finding)
{
	struct xy_control *control = ward->kernel->control;

	control->listener[0] = xy_kernel_listener((const struct sockaddr *)&door->address);
	control->listeners = 1;
	*dummy = (struct xy_dummy){.endpoint = ENDPOINTS + ++ward->endpoints};
	dummy->fd = socket(door->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (dummy->fd < 0 ||
	    connect(dummy->fd, (const struct sockaddr *)&door->address, door->length))
		return xy_found_no(finding, "no connection over loopback: %s", strerror(errno));
	dummy->proxy = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC);
	if (dummy->proxy < 0)
		return xy_found_no(finding, "no connection is accepted: %s", strerror(errno));
	return !ward->place.no_cgroup[0] || insert_by_hand(ward, dummy, finding);
}

bool xy_dummy_bind(struct xy_ward *ward, struct xy_dummy *dummy, struct xy_finding *finding)
{
	int error = xy_kernel_claim(ward->kernel, dummy->endpoint, &dummy->slot);

	if (error)
		return xy_found_no(finding, "no claim can be made: %s", strerror(-error));
	dummy->session = xy_kernel_session(ward->kernel, dummy->slot.slot);
	frame_put(sent, XY_SYNC, dummy, 1, XY_HEADER_SIZE);
	if (!send_all(dummy->fd, sent, XY_HEADER_SIZE, finding) ||
	    !expect_header(dummy->proxy, XY_SYNC, "a SYNC", finding))
		return false;
	xy_kernel_unclaim(ward->kernel, dummy->endpoint);
	if (!xy_kernel_bound(ward->kernel, dummy->slot))
		return xy_found_no(finding, "a client's SYNC did not take its claim: no program "
					    "ran on its send");
	return true;
}

bool xy_dummy_adopt(struct xy_ward *ward, struct xy_dummy *dummy, struct xy_finding *finding)
{
	int error = xy_kernel_adopt(ward->kernel, dummy->slot, dummy->proxy);

	if (error)
		return xy_found_no(finding, "the proxy's end does not go into its sockmap: %s",
				   strerror(-error));
	xy_session_epoch_start(dummy->session, 1);
	frame_put(sent, XY_SYNCED, dummy, 1, XY_HEADER_SIZE);
	return send_all(dummy->proxy, sent, XY_HEADER_SIZE, finding) &&
	       expect_header(dummy->fd, XY_SYNCED, "SYNCED", finding);
}

bool xy_dummy_open(struct xy_ward *ward, const struct xy_door *door, struct xy_dummy *dummy,
		   struct xy_finding *finding)
{
	return xy_dummy_connect(ward, door, dummy, finding) &&
	       xy_dummy_bind(ward, dummy, finding) && xy_dummy_adopt(ward, dummy, finding);
}

void xy_dummy_close(struct xy_dummy *dummy)
{
	if (dummy->fd > 0)
		close(dummy->fd);
	if (dummy->proxy > 0)
		close(dummy->proxy);
	*dummy = (struct xy_dummy){0};
}

int xy_dummy_flow(const struct xy_ward *ward, const struct xy_dummy *from,
		  const struct xy_dummy *to)
{
	struct xy_flow flow = {
		.key = {.target = XY_DUMMY_TARGET, .slot = from->slot.slot, .kind = XY_FLOW_TOPIC},
		.generation = from->slot.generation,
		.members = 1,
		.member = {{to->slot.slot, to->slot.generation}},
	};

	return xy_kernel_flow_put(ward->kernel, &flow);
}
