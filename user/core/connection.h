/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection: one client's socket, owned by one worker for its whole life.
 *
 * connection.c: life and death. inbound.c: bytes to frames to deliveries. request.c: what needs the
 * router. outbound.c: pipes to the socket or the lane. overflow.c: what their policies drop.
 * drops.c: so that messages go whole. brake.c: SYNC, and publishers that must wait. target.c: what
 * a sender's targets stand for. All on the worker's thread.
 */
#ifndef XY_CORE_CONNECTION_H
#define XY_CORE_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/idmap.h"
#include "base/list.h"
#include "core/overflow.h"
#include "core/peer.h"
#include "core/router.h"
#include "core/worker.h"
#include "io/loop.h"
#include "io/stream.h"
#include "proto/frame.h"
#include <xylem/pipe.h>

#define XY_PROOFS_MAX     8           /* PINGs outstanding */
#define XY_CONTROL_MAX    (64u << 10) /* control frames that may wait, and stand beyond the window */
/* Frames that only what went before them kept off the lane: so many are worth a SYNC at first. Few,
 * because under load a frame is a bundle of hundreds of messages. */
#define XY_SYNC_THRESHOLD 8
#define XY_REQUESTS_MAX   256 /* of one connection at the router at once */

enum xy_connection_state {
	XY_CONNECTION_FIRST, /* WELCOME sent; waiting for the first frame, sending nothing */
	XY_CONNECTION_OPEN,
	XY_CONNECTION_LEAVING, /* said GOODBYE: takes no DATA, gets the rest of what is under way */
	XY_CONNECTION_LINGER,  /* told why it is closed; input is discarded until it closes */
	XY_CONNECTION_CLOSED,
};

/* Why a connection takes no more input for now. */
enum xy_hold {
	XY_HOLD_ROOM = 1 << 0,     /* a receiver that it feeds is crowded */
	XY_HOLD_REQUESTS = 1 << 1, /* too many requests are at the router */
	XY_HOLD_CONTROL = 1 << 2,  /* it does not read the answers */
	XY_HOLD_MEMORY = 1 << 3,   /* there is none to read into */
};

/* What a sender's target stands for. */
struct xy_target {
	uint64_t id;
	enum xy_flow_kind kind;
	struct xy_topic *topic; /* TOPIC */
	struct xy_peer *peer;   /* DIRECT; one reference */
	uint64_t asked;         /* route version for which a flow was asked for; DIRECT: 1 */
	struct xy_list fed;     /* in its connection's list `fed` or `flows` */
	bool is_fed;            /* in `fed` … */
	uint32_t epoch;         /* … and since this SYNC epoch (+ 1) */
	bool flow;              /* a flow was asked for, and may stand */
	uint64_t generation;    /* of the rules that `forbidden` was decided by */
	bool forbidden;
	bool refusing; /* DIRECT that waited stall_ms in vain: refused until there is room */
	/* Members that get a message for their groups, until its last fragment. */
	struct xy_chosen *chosen;
	uint32_t chosen_count, chosen_capacity;
	uint64_t chosen_sequence;
};

struct xy_chosen {
	const struct xy_peer *peer; /* only compared, never followed */
	bool given;                 /* it has this frame */
};

/* A receiver that a publisher waits for. */
struct xy_wait {
	struct xy_peer *peer; /* one reference */
	uint64_t progress;    /* its progress when the wait began */
	uint32_t group;       /* not 0: one of the waits with this number is enough */
	bool direct;          /* never closed for it; the sender is refused after a while */
	bool memory;          /* while memory is short: until nothing is held for the receiver */
	uint64_t since_ms;
};

struct xy_proof {
	uint64_t payload; /* random */
	uint64_t sent;    /* what its PONG proves */
	uint64_t asked_ms;
};

struct xy_connection {
	struct xy_watch watch;
	struct xy_tls *tls; /* NULL: without */
	struct xy_worker *worker;
	struct xy_peer *peer;
	struct xy_list of_worker, dirty, braked, ready;
	enum xy_connection_state state;
	bool lane, is_unix;
	bool attached, detached; /* the router knows it, has forgotten it */
	bool draining;           /* the proxy wants to say GOODBYE … */
	bool goodbye_sent;       /* … and has */
	bool broken;    /* without memory for what it must get: closed at the end of the turn */
	bool writing;   /* waits for the socket to take more */
	bool unwatched; /* it hung up while its input was held: the rest is read after the hold */
	bool deaf;      /* it takes nothing any more; what it has sent is still read to its end */
	bool revoked;   /* what it authenticated by holds no more: it is about to be closed */
	bool partial_control;        /* `partial` is of control */
	struct xy_request *farewell; /* the request that ends it; kept, so that it cannot fail */

	struct xy_pipe *in, *control, *data;
	uint32_t partial; /* bytes of a frame still to send after a short send; of control first */
	uint32_t held_control, held_data; /* frames in the pipes */
	uint32_t bindings;                /* of these, BINDINGs that count in `queued` */
	uint32_t holds;                   /* enum xy_hold: takes no more input while not 0 */
	uint32_t directs;                 /* of the targets */
	struct xy_dropping *overflow;     /* NULL until it has something to say */
	struct xy_drops unposted; /* by receiver: its messages that are not posted to the end */
	uint64_t held_since_ms;

	uint64_t generation;     /* of the rules that `revoked` was decided by */
	struct xy_idmap targets; /* struct xy_target by id */
	struct xy_target *last_target;
	/* What a SYNC has to look at: targets that were sent to by here since the last SYNCED, in
	 * the order of their epochs, and others that the kernel may have sent to. */
	struct xy_list fed, flows;

	/* SYNC. */
	uint32_t epoch;          /* correlation of the last SYNC read */
	uint32_t handed;         /* DATA frames of this epoch read and handed on */
	bool sync_pending;       /* SYNCED is owed */
	bool sync_wanted;        /* SYNC_WANTED is out */
	bool flow_new;           /* a flow was installed since SYNCED … */
	uint32_t sync_threshold; /* frames kept off the lane before a SYNC is wanted */
	uint64_t synced_ms;      /* … which was then */
	uint64_t sync_correlation;
	uint64_t frames_at_synced; /* session.frames then */
	uint64_t kept_off_seen;    /* frames that barrier and LOST had kept off the lane then */
	uint64_t no_room_seen;

	struct xy_wait *waits;
	uint32_t wait_count, wait_capacity;

	struct xy_proof *proof; /* a ring of XY_PROOFS_MAX while any is outstanding, else NULL */
	uint32_t proofs, proof_first;
	uint32_t short_pongs;         /* in a row, whose acks fell short of what was sent */
	struct xy_righting *righting; /* its credit is being set right; else NULL */
	uint64_t righted_ms;          /* when that was over */
	uint64_t stuck_acked,
		stuck_ms; /* of a lane with something held: its newest ack, and since */

	struct xy_timer timer; /* heartbeat; in LEAVING and LINGER the end */
	uint64_t heard_ms;
	uint64_t heard_kernel; /* session.frames + sent_frames at the last look */
	struct xy_timer retry; /* of a redirect that failed, of a read without memory */
	uint32_t requests;     /* at the router */
	uint32_t flows_asked;  /* of these not counted: flows; SYNCED waits for them */

	struct xy_cost cost;

	uint64_t acked; /* without a lane; 0 = it does not ack, which is allowed */
	uint64_t frames_in, bytes_in, frames_out, bytes_out;
	uint32_t topics, subscriptions;
};

/* Takes over an accepted, greeted socket, with its TLS or NULL, and that with its memory as the
 * budget counts it; called by the acceptor's task on the worker. On failure the descriptor is
 * closed. peer->connection is set here. `farewell` names the peer. */
void xy_connection_open(struct xy_worker *worker, struct xy_request *farewell, int fd,
			struct xy_tls *tls, bool is_unix);
/* At once, without a word. Idempotent; the memory goes when the turn is over. */
void xy_connection_close(struct xy_connection *connection, const char *why);
/* As close, and what the client has not read goes, too: else it would stay for as long as the
 * client has its socket. */
void xy_connection_abort(struct xy_connection *connection, const char *why);
/* Says why, then lingers until the client closes or two seconds are over. `cause` may be NULL. */
void xy_connection_fail(struct xy_connection *connection, enum xy_error error,
			const struct xy_frame *cause, const char *message);
void xy_connection_drain(struct xy_connection *connection); /* the proxy says GOODBYE */
/* After anything that may have been the last obstacle: ends a connection that is LEAVING. */
void xy_connection_leave(struct xy_connection *connection);

void xy_connection_hold(struct xy_connection *connection, enum xy_hold hold);
void xy_connection_release(struct xy_connection *connection, enum xy_hold hold);
void xy_connection_rewatch(struct xy_connection *connection);
void xy_connection_retry(struct xy_connection *connection); /* to send, to read, in a moment */
void xy_connection_free(struct xy_connection *connection);  /* the worker, after the turn */

/* inbound.c */
void xy_inbound_ready(struct xy_connection *connection); /* readable, or unblocked */

/* request.c: frames that need the router or an answer. */
void xy_request_frame(struct xy_connection *connection, const struct xy_frame *frame,
		      const struct xy_cursor *payload);
int xy_request_attach(struct xy_connection *connection);
struct xy_request *xy_request_farewell(struct xy_peer *peer); /* made in time; NULL: no memory */
void xy_request_detach(struct xy_connection *connection);     /* once; cannot fail */
void xy_request_flow(struct xy_connection *connection, struct xy_target *target);
/* Its lane takes nothing any more: the flows to it go. Without memory they go when it closes. */
void xy_request_deaf(struct xy_connection *connection);

/* outbound.c */
int xy_control_send(struct xy_connection *connection, const struct xy_frame *frame,
		    const void *payload, size_t length);
void xy_error_send(struct xy_connection *connection, enum xy_error error,
		   const struct xy_frame *cause, const char *message);
void xy_outbound_deliver(struct xy_connection *connection, struct xy_peer *sender,
			 struct xy_chain *chain, uint32_t frames, enum xy_delivery_policy policy);
void xy_outbound_binding(struct xy_connection *connection); /* one was just sent */
/* Without a lane: after something was sent, or acked. */
void xy_outbound_unread(struct xy_connection *connection);
void xy_outbound_dirty(struct xy_connection *connection); /* to be sent at the end of the turn */
void xy_outbound_send(struct xy_connection *connection);
void xy_outbound_drop(struct xy_connection *connection); /* everything, counted */
/* As above, but the rest of a frame that has begun to leave stays, and is sent before the control
 * frames. */
void xy_outbound_cut(struct xy_connection *connection);
/* DATA that was posted to the connection has left its pipe, or never gets in. */
void xy_outbound_gone(struct xy_connection *connection, size_t bytes, uint32_t frames);
/* As above: there was no memory for it. */
void xy_outbound_lost(struct xy_connection *connection, size_t bytes, uint32_t frames,
		      enum xy_delivery_policy policy);
bool xy_outbound_empty(const struct xy_connection *connection);

/* brake.c */
void xy_brake_sync(struct xy_connection *connection, const struct xy_frame *frame);
void xy_brake_handed(struct xy_connection *connection, uint32_t frames); /* DATA handed on */
void xy_brake_off_lane(struct xy_connection *connection); /* after a turn with DATA of a lane */
void xy_brake_want(struct xy_connection *connection);     /* SYNC_WANTED, unless one is out */
void xy_brake_flow(struct xy_connection *connection);     /* a flow of its own was installed */
/* A receiver that this sender feeds has become crowded: the sender should pause. */
void xy_brake_crowded(struct xy_connection *connection, struct xy_peer *receiver, bool direct);
/* Memory is short, and a receiver that this sender feeds has not taken what it was given. */
void xy_brake_memory(struct xy_connection *connection, struct xy_peer *receiver);
void xy_brake_look_again(struct xy_worker *worker); /* all of its publishers that wait */
void xy_brake_clear(struct xy_connection *connection);
void xy_brake_answer(struct xy_connection *connection); /* SYNCED, when nothing stands against it */

/* proof.c */
void xy_proof_ask(struct xy_connection *connection);
void xy_proof_pong(struct xy_connection *connection, const struct xy_frame *frame,
		   const struct xy_cursor *payload);

/* Of all PINGs outstanding: `sent` has been found to be less by so much. */
void xy_proofs_right(struct xy_connection *connection, uint64_t missing);

/* right.c: `sent` of a lane that seems to have less credit than it should. */
void xy_right_begin(struct xy_connection *connection); /* unless it is done now, or was just */
bool xy_right_holds(const struct xy_connection *connection); /* nothing is sent to it */
/* Whether the PONG is the one that was waited for. */
bool xy_right_pong(struct xy_connection *connection, const struct xy_frame *frame,
		   uint64_t payload);
void xy_right_end(struct xy_connection *connection);

/* target.c */
struct xy_target *xy_target_find(struct xy_connection *connection, uint64_t id,
				 enum xy_flow_kind kind);
int xy_target_topic(struct xy_connection *connection, uint64_t id, struct xy_topic *topic);
/* NULL with errno: ENOENT, ENOMEM. */
struct xy_target *xy_target_direct(struct xy_connection *connection, uint64_t endpoint);
/* DATA for it has come here; SYNCED is sent for all that came before the last SYNC. */
void xy_target_feed(struct xy_connection *connection, struct xy_target *target);
void xy_targets_fed(struct xy_connection *connection);
void xy_targets_free(struct xy_connection *connection);

#endif
