/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Probes of a lane: two clients, and this process as the proxy between them.
 */
#include <stdlib.h>
#include <string.h>

#include <xylem/wire.h>

#include "base/bytes.h"
#include "kernel/session.h"
#include "kernel/ward.h"

#define SMALL_FRAME 1000
#define LARGE_FRAME (32u << 10)
#define WINDOW      (4 * LARGE_FRAME)

static const char *reason_text(unsigned reason)
{
	static const char *const texts[] = {
#define X(name, text, why) text,
		XY_REASONS(X)
#undef X
	};

	return reason < XY_ARRAY_SIZE(texts) ? texts[reason] : "?";
}

/* ---- what the verdict counted ---------------------------------------------------------------- */

/* One send: redirected, or passed for this reason, as the counters say. */
static bool redirected(const struct xy_dummy *from, const struct xy_session *before,
		       unsigned frames, struct xy_finding *finding)
{
	const struct xy_session *now = from->session;

	if (now->frames - before->frames == frames && now->passed == before->passed)
		return true;
	for (unsigned reason = 0; reason < XY_REASON_COUNT; reason++)
		if (now->reasons[reason] != before->reasons[reason])
			return xy_found_no(finding, "the kernel left a send to the proxy: %s",
					   reason_text(reason));
	return xy_found_no(finding, "no program ran on a send");
}

/* … and the proxy has read it. */
static bool passed(const struct xy_dummy *from, const struct xy_session *before,
		   enum xy_reason reason, uint32_t size, struct xy_finding *finding)
{
	const struct xy_session *now = from->session;

	if (now->frames != before->frames)
		return xy_found_no(finding,
				   "the kernel redirected what it had to leave to the proxy (%s)",
				   reason_text(reason));
	if (now->reasons[reason] == before->reasons[reason])
		return xy_found_no(finding, "a send was not left to the proxy as %s",
				   reason_text(reason));
	return xy_dummy_expect(from->proxy, from, from->sequence, 1, size, finding);
}

/* ---- population ------------------------------------------------------------------------------ */

static void probe_population(struct xy_ward *ward, struct xy_finding *finding)
{
	const struct xy_control *control;
	uint64_t sockets;

	if (!xy_ward_opened(ward, XY_STEP_POPULATION, finding) || !xy_ward_ready(ward, finding))
		return;
	if (ward->place.no_cgroup[0]) {
		xy_found_untried(finding, "run it as root, where cgroups can be made", "%s",
				 ward->place.no_cgroup);
		return;
	}
	control = ward->kernel->control;
	sockets = control->sockets;
	if (!xy_dummy_connect(ward, &ward->door, &ward->from, finding))
		return;
	if (control->sockets == sockets) {
		xy_found_no(finding, control->sockets_left
					     ? "a new socket did not go into the sockmaps: another "
					       "eBPF agent took it first"
					     : "no sock_ops program ran on a new connection");
		return;
	}
	if (xy_dummy_bind(ward, &ward->from, finding) && xy_dummy_adopt(ward, &ward->from, finding))
		xy_found(finding, XY_VERDICT_OK,
			 "a client's socket went into the sockmaps as it connected, and took its "
			 "claim by SYNC");
}

const struct xy_probe xy_probe_population = {
	.name = "population",
	.needed = true,
	.remedy =
		"run the doctor as root where it can make cgroups; other sock_ops agents may be in "
		"the way (bpftool cgroup tree)",
	.run = probe_population,
};

/* ---- redirect -------------------------------------------------------------------------------- */

static void probe_redirect(struct xy_ward *ward, struct xy_finding *finding)
{
	static const struct {
		unsigned frames;
		uint32_t size;
	} sends[] = {{1, XY_HEADER_SIZE},
		     {XY_SEND_FRAMES_MAX, SMALL_FRAME},
		     {1, XY_FRAME_MAX},
		     {2, LARGE_FRAME}};
	unsigned frames = 0;
	uint32_t bytes = 0;

	if (!xy_ward_pair(ward, finding))
		return;
	for (size_t i = 0; i < XY_ARRAY_SIZE(sends); i++) {
		struct xy_session before = *ward->from.session;
		uint64_t first = ward->from.sequence + 1;

		/* Of the window there is always enough: all is consumed at once. */
		if (!xy_dummy_send(&ward->from, sends[i].frames, sends[i].size, finding) ||
		    !redirected(&ward->from, &before, sends[i].frames, finding) ||
		    !xy_dummy_expect(ward->to.fd, &ward->from, first, sends[i].frames,
				     sends[i].size, finding) ||
		    !xy_dummy_ack(&ward->to, finding))
			return;
		frames += sends[i].frames;
		bytes += sends[i].frames * sends[i].size;
	}
	xy_found(finding, XY_VERDICT_OK,
		 "%u frames of 60 to 65,536 bytes in %zu sends, %u bytes in all, came from client "
		 "to client whole",
		 frames, XY_ARRAY_SIZE(sends), bytes);
}

const struct xy_probe xy_probe_redirect = {
	.name = "redirect",
	.needed = true,
	.remedy = "a newer kernel; without redirect everything runs in user space",
	.run = probe_redirect,
};

/* ---- order ----------------------------------------------------------------------------------- */

/*
 * Three frames: the first has to go to the proxy, the second must not overtake it although it
 * could go now, the third may go again. The proxy's own deliveries are redirected, too (K1).
 */
static void probe_order(struct xy_ward *ward, struct xy_finding *finding)
{
	struct xy_dummy *from = &ward->from, *to = &ward->to;
	struct xy_session before;
	uint64_t first;

	if (!xy_ward_pair(ward, finding))
		return;
	first = from->sequence + 1;
	before = *from->session;
	xy_kernel_redirect_switch(ward->kernel, false);
	if (!xy_dummy_send(from, 1, SMALL_FRAME, finding) ||
	    !passed(from, &before, XY_REASON_SWITCHED_OFF, SMALL_FRAME, finding))
		return;
	xy_kernel_redirect_switch(ward->kernel, true);
	before = *from->session;
	if (!xy_dummy_send(from, 1, SMALL_FRAME, finding) ||
	    !passed(from, &before, XY_REASON_BARRIER, SMALL_FRAME, finding))
		return;
	for (uint64_t sequence = first; sequence < first + 2; sequence++)
		if (!xy_dummy_deliver(from, sequence, SMALL_FRAME, to, finding))
			return;
	xy_session_barrier_add(from->session, 2);
	before = *from->session;
	if (xy_dummy_send(from, 1, SMALL_FRAME, finding) && redirected(from, &before, 1, finding) &&
	    xy_dummy_expect(to->fd, from, first, 3, SMALL_FRAME, finding) &&
	    xy_dummy_ack(to, finding))
		xy_found(
			finding, XY_VERDICT_OK,
			"what the proxy delivers and what the kernel redirects arrive in the order "
			"sent");
}

const struct xy_probe xy_probe_order = {
	.name = "order",
	.needed = true,
	.remedy = "a newer kernel; without this order everything runs in user space",
	.run = probe_order,
};

/* ---- deadman --------------------------------------------------------------------------------- */

static void probe_deadman(struct xy_ward *ward, struct xy_finding *finding)
{
	struct xy_dummy *from = &ward->from;
	struct xy_session before;

	if (!xy_ward_pair(ward, finding))
		return;
	before = *from->session;
	__atomic_store_n(&ward->kernel->control->heartbeat, 0, __ATOMIC_RELAXED);
	if (!xy_dummy_send(from, 1, SMALL_FRAME, finding) ||
	    !passed(from, &before, XY_REASON_DEADMAN, SMALL_FRAME, finding))
		return;
	xy_session_barrier_add(from->session, 1);
	xy_found(finding, XY_VERDICT_OK, "without the proxy's heartbeat nothing is redirected");
}

const struct xy_probe xy_probe_deadman = {
	.name = "deadman",
	.needed = true,
	.remedy = "a newer kernel; lanes that outlive their proxy are not used",
	.run = probe_deadman,
};

/* ---- credit ---------------------------------------------------------------------------------- */

static void mark_seen(const struct xy_pressure *pressure, void *context)
{
	*(uint32_t *)context |= pressure->marks;
}

/* Redirects until the window is full; the send that has no room goes to the proxy. */
static bool window_fill(struct xy_ward *ward, unsigned *ret_sends, struct xy_finding *finding)
{
	struct xy_dummy *from = &ward->from;
	struct xy_session before;

	for (unsigned sends = 0; sends <= WINDOW / LARGE_FRAME; sends++) {
		before = *from->session;
		if (!xy_dummy_send(from, 1, LARGE_FRAME, finding))
			return false;
		if (from->session->frames == before.frames) {
			*ret_sends = sends;
			return passed(from, &before, XY_REASON_NO_ROOM, LARGE_FRAME, finding);
		}
	}
	return xy_found_no(finding, "more than the window of %u bytes is outstanding", WINDOW);
}

static void probe_credit(struct xy_ward *ward, struct xy_finding *finding)
{
	struct xy_dummy *from = &ward->from, *to = &ward->to;
	struct xy_session before;
	uint32_t marks = 0;
	unsigned sends = 0;
	uint64_t first;

	/* All of it is acked: each probe leaves it so. */
	if (!xy_ward_pair(ward, finding))
		return;
	xy_kernel_pressure_read(ward->kernel, mark_seen, &marks);
	marks = 0;
	__atomic_store_n(&to->session->window, WINDOW, __ATOMIC_RELAXED);
	xy_session_prove(to->session, xy_session_sent(to->session));
	first = from->sequence + 1;
	if (!window_fill(ward, &sends, finding) ||
	    !xy_dummy_expect(to->fd, from, first, 1, LARGE_FRAME, finding))
		return;
	for (unsigned i = 1; i < sends; i++)
		if (!xy_dummy_expect(to->fd, from, first + i, 1, LARGE_FRAME, finding))
			return;
	if (!xy_dummy_ack(to, finding))
		return;
	xy_session_prove(to->session, xy_session_sent(to->session));
	xy_session_barrier_add(from->session, 1);
	before = *from->session;
	if (!xy_dummy_send(from, 1, LARGE_FRAME, finding) ||
	    !redirected(from, &before, 1, finding) ||
	    !xy_dummy_expect(to->fd, from, from->sequence, 1, LARGE_FRAME, finding) ||
	    !xy_dummy_ack(to, finding))
		return;
	xy_kernel_pressure_read(ward->kernel, mark_seen, &marks);
	if ((marks & (XY_PRESSURE_HALF | XY_PRESSURE_BRAKE)) !=
	    (XY_PRESSURE_HALF | XY_PRESSURE_BRAKE)) {
		xy_found_no(finding, "the ring did not tell of a full window");
		return;
	}
	xy_found(finding, XY_VERDICT_OK,
		 "%u sends filled a window of %u bytes, the next went to the proxy, and an ack "
		 "made room again",
		 sends, WINDOW);
}

const struct xy_probe xy_probe_credit = {
	.name = "credit",
	.needed = true,
	.remedy = "a newer kernel; a lane whose receiver cannot be bounded is not used",
	.run = probe_credit,
};

/* ---- gone ------------------------------------------------------------------------------------ */

static void probe_gone(struct xy_ward *ward, struct xy_finding *finding)
{
	struct xy_dummy *from = &ward->from;
	struct xy_session before;

	if (!xy_ward_pair(ward, finding))
		return;
	xy_dummy_close(&ward->to);
	before = *from->session;
	if (!xy_dummy_send(from, 1, SMALL_FRAME, finding) ||
	    !passed(from, &before, XY_REASON_RECEIVER_GONE, SMALL_FRAME, finding))
		return;
	xy_session_barrier_add(from->session, 1);
	xy_found(finding, XY_VERDICT_OK, "what is for a closed socket goes to the proxy");
}

const struct xy_probe xy_probe_gone = {
	.name = "gone",
	.needed = true,
	.remedy = "a newer kernel; without this everything runs in user space",
	.run = probe_gone,
};
