/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/*
 * The inside of a client object, and what its parts offer each other.
 *
 *   client.c      options, life and death, process, next, flush, sync, drain
 *   dial.c        addresses to a connected socket, and to a secured one
 *   channel.c     bytes to and from that socket, plain or by TLS
 *   secure.c      whom TLS trusts, expects and shows
 *   connection.c  from HELLO to SYNCED, control frames, heartbeats, waiting
 *   reconnect.c   what survives a connection: back-off, restoring, rewriting of queued frames
 *   nap.c         fewer wake-ups of one that gets many small messages
 *   queue.c       bytes that wait for the socket, and the send call with its rules (K21)
 *   outbound.c    messages to frames: batches, bundles, fragments
 *   inbound.c     the socket to blocks of whole frames; what must be handled at once is
 *   assembly.c    fragments to messages
 *   deliver.c     frames to messages: handlers and next()
 *   topic.c       declare, subscribe
 *   binding.c     what a topic id means to a receiver, and gaps in sequences
 *   request.c     calls that a correlation pairs with their answer
 *   event.c       error words, events, the descriptor of the event style
 *
 * Threads: one at a time per client. Errors: 0 or -errno, words by xy_client_fail().
 *
 * Two steps of receiving. Intake reads the socket whenever the client has anything to do there and
 * handles control frames and awaited replies at once; DATA stays where it was read. Delivery calls
 * the application's code and runs only where the public header says so.
 */
#ifndef XY_CLIENT_INTERNAL_H
#define XY_CLIENT_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include <xylem/client.h>
#include <xylem/wire.h>

#include "base/clock.h"
#include "base/idmap.h"
#include "base/list.h"
#include "base/moderate.h"
#include "base/spin.h"
#include "client/secure.h"
#include "io/net.h"
#include "io/tls.h"
#include "proto/frame.h"
#include "proto/json.h"
#include "proto/subject.h"

#define XY_BLOCK_SIZE      (256u << 10)
#define XY_BUNDLE_ITEM_MAX 4096 /* longer messages gain nothing by a bundle */
#define XY_CONTROL_MAX     (256u << 10)
#define XY_EVENTS_MAX      16
#define XY_WORDS_SIZE      320
#define XY_STREAMS_MAX     16384
#define XY_PATIENCE_NS     100000000ull
#define XY_ADDRESSES_MAX   8
#define XY_NOTHING         SIZE_MAX

enum xy_client_state {
	XY_CLIENT_CLOSED,     /* for good */
	XY_CLIENT_BACKOFF,    /* until `due_ns`, then the next attempt */
	XY_CLIENT_CONNECTING, /* connect() is under way */
	XY_CLIENT_SECURING,   /* … the handshake of TLS */
	XY_CLIENT_GREETING,   /* HELLO sent */
	XY_CLIENT_SYNCING,    /* WELCOME read, first SYNC sent */
	XY_CLIENT_RESTORING,  /* declaring and subscribing what the application has */
	XY_CLIENT_READY,
};

/* ---- calls ----------------------------------------------------------------------------------- */

enum xy_call_kind { XY_CALL_DECLARE, XY_CALL_SUBSCRIBE, XY_CALL_UNSUBSCRIBE, XY_CALL_REQUEST };

/* Something asked that OK, ERROR or a reply with this correlation answers. */
struct xy_call {
	uint64_t correlation; /* 0 = nothing asked */
	enum xy_call_kind kind;
};

enum xy_answer { XY_ANSWER_NONE, XY_ANSWER_OK, XY_ANSWER_REFUSED };

struct xy_topic {
	struct xy_call call;
	struct xy_client *client;
	uint64_t id;       /* as told; frames in the queue carry it */
	uint64_t next_id;  /* told by a new connection, valid from XY_CLIENT_READY on */
	uint64_t sequence; /* of the last message */
	enum xy_answer answer;
	int error;  /* -errno when refused */
	bool given; /* the application has it */
	UT_hash_handle hh;
	char subject[XY_SUBJECT_MAX + 1];
};

struct xy_subscription {
	struct xy_call call;
	struct xy_list link;
	struct xy_tree_item item; /* in client->patterns, as long as the application has it */
	uint64_t number;          /* in the order of subscribing */
	uint64_t id;
	enum xy_answer answer;
	int error;
	bool given_up; /* the application does not have it, or not any more */
	xy_message_fn on_message;
	void *context;
	struct xy_subscribe wish;
};

struct xy_request {
	struct xy_call call;
	struct xy_list link; /* requests by due_ns; or failed ones */
	uint64_t due_ns;     /* UINT64_MAX = never */
	char words[XY_WORDS_SIZE];
	xy_message_fn on_reply;
	void *context;
};

/* ---- inbound --------------------------------------------------------------------------------- */

struct xy_block {
	struct xy_block *next;
	uint32_t scan; /* whole frames end here: taken in, not all delivered */
	uint32_t end;  /* bytes read end here */
	uint8_t data[];
};

/* What intake writes over the type of a frame that it has dealt with. */
enum xy_mark {
	XY_MARK_DEAD = 0xf0,      /* skip */
	XY_MARK_ASSEMBLED = 0xf1, /* last fragment; its ack field holds a struct xy_assembly */
	XY_MARK_HELD = 0xf2,      /* the application looks at it; as the above when assembled */
	XY_MARK_HELD_ASSEMBLED = 0xf3,
};

struct xy_position {
	struct xy_block *block;
	uint32_t at;
};

/* A message that comes, or came, in fragments. */
struct xy_assembly {
	struct xy_list link; /* incomplete ones, oldest progress first */
	uint64_t source, target, sequence;
	uint16_t next, fragments;
	size_t length, capacity, maximum;
	uint8_t *data;
};

struct xy_inbound {
	struct xy_block *head, *tail, *spare;
	uint32_t blocks;         /* of head … tail */
	struct xy_position read; /* nothing alive before it */
	struct xy_position
		walk;     /* process() has looked at what lies before it; never before read */
	bool full;        /* intake stopped for want of memory, and none came free since */
	bool stalled;     /* whole frames were read and not taken in, for the same reason */
	bool drained;     /* the last read took all that poll does not tell of */
	uint8_t *current; /* frame of the message that next() gave out */
	uint8_t *reply;   /* frame of the reply that request() gave out */

	struct xy_idmap assemblies; /* incomplete, by source */
	struct xy_list progress;
	size_t assembly_bytes; /* complete ones that wait included */
	size_t waiting;        /* complete ones that wait */

	/* The bundle that next() is giving out, in the frame `current`. */
	const uint8_t *bundle, *bundle_end;
	struct xy_message item; /* what its messages have in common */
	uint64_t item_sequence; /* of the next one */
	unsigned item_generation;
};

/* A topic as receiver. */
struct xy_binding {
	uint64_t id;
	unsigned generation; /* of the subscriptions when `subscription` was found */
	struct xy_subscription *subscription;
	char subject[XY_SUBJECT_MAX + 1];
};

/* Last sequence of one source on one topic. */
struct xy_stream {
	uint64_t key; /* of source and topic */
	uint64_t sequence;
	struct xy_list link; /* oldest first */
};

/* ---- outbound -------------------------------------------------------------------------------- */

/* What is lost with a frame. */
struct xy_loss {
	uint64_t messages;
	uint64_t target, sequence; /* of which it is a fragment; sequence 0: of none */
};

struct xy_queue {
	uint8_t *data;
	size_t capacity, head, tail;
	size_t unsent; /* left over by the last send: the next send is exactly that (K21) */
	size_t torn;   /* of these, the rest of a frame of which a part is sent … */
	struct xy_loss torn_loss; /* … and what is lost if the rest does not follow */

	/* Of the data queue only. */
	size_t open;           /* offset of the last frame when messages may still join it */
	uint32_t open_items;   /* messages in it */
	size_t batch;          /* offset of the last batch: what lies before it is full */
	uint32_t batch_frames; /* in it */
	uint64_t batch_target; /* of it … */
	bool batch_direct;     /* … and what kind of id that is */
	uint64_t oldest_ns;    /* CLOCK_REALTIME of the first message queued since it was empty */
};

/* ---- client ---------------------------------------------------------------------------------- */

struct xy_pending_event {
	enum xy_event event;
	char words[XY_WORDS_SIZE];
};

struct xy_client {
	/* Options. */
	char *server, *token, *token_file; /* of the last two one at most */
	struct xy_secure secure;           /* of a tls: server */
	char name[XY_NAME_MAX + 1];
	bool no_lane, no_reconnect, no_bundle, crc, no_spin, no_nap;
	uint32_t connect_timeout_ms, reconnect_min_ms, reconnect_max_ms;
	size_t inbound_max, outbound_max;
	uint32_t block_size;
	xy_event_fn on_event;
	xy_message_fn on_direct;
	void *context; /* of both */

	/* Connection. */
	enum xy_client_state state;
	int fd;             /* -1 = none */
	struct xy_tls *tls; /* NULL = plain */
	bool patient;       /* a recv without MSG_DONTWAIT waits, for XY_PATIENCE_NS */
	struct xy_address address[XY_ADDRESSES_MAX]; /* of the attempt */
	int addresses, address_next;
	bool was_ready, told_connected, lane, said_goodbye;
	bool grouped;        /* has subscribed in a group */
	bool parting;        /* the proxy has said GOODBYE; until SYNCED */
	unsigned connection; /* counts connections that ended */
	uint64_t due_ns;     /* end of the attempt, or of the back-off */
	unsigned attempts;
	uint64_t endpoint, window, max_message;
	uint32_t max_frame;
	uint64_t heartbeat_ns, heard_ns, spoke_ns, asked_ns;
	unsigned unheard;           /* PINGs since anything was heard */
	uint64_t consumed, acked;   /* bytes since WELCOME; the newest that a sent frame told */
	uint64_t sync_out, sync_in; /* correlation of the last SYNC and of the last SYNCED */

	/* pace.c */
	struct {
		uint64_t fresh;    /* target, as on the wire, that was sent to once; 0 = none */
		uint64_t fresh_ns; /* when */
		uint64_t bytes;    /* of DATA since the last SYNC */
		uint32_t epochs;   /* half windows still to be paced … */
		uint32_t patience; /* … of so many */
	} pace;

	struct xy_spin spin;           /* of waits for input */
	struct xy_moderator moderator; /* of wake-ups */

	/* Writability (K25): DATA only after poll said POLLOUT. */
	bool blocked;       /* the kernel took less than given; poll before any send */
	bool looked;        /* the socket was read or polled since the last DATA send */
	uint64_t looked_ns; /* when it was, and something came or it was writable */
	size_t unpolled,
		unpolled_max; /* bytes of DATA since the last POLLOUT, and how many may be */

	struct xy_queue control, data;
	struct xy_inbound in;

	/* What the application has. */
	struct xy_topic *topics; /* by subject */
	struct xy_list subscriptions;
	struct xy_tree *patterns; /* of these */
	uint64_t numbered;        /* subscriptions so far */
	unsigned generation;      /* of the list above */
	struct xy_list given_up;  /* subscriptions that the proxy has or gets, and must take back */
	uint32_t unanswered;      /* of what is being restored */
	struct xy_idmap bindings, streams, calls;
	struct xy_binding *last_binding;
	struct xy_stream *last_stream;
	struct xy_list stream_order;
	uint64_t correlation;     /* of the last call */
	uint64_t direct_sequence; /* of the last fragmented message to an endpoint */
	struct xy_list requests, failed, spare_requests;
	struct {
		uint64_t correlation; /* 0 = request() waits for nothing */
		bool answered;
		int error;
		uint8_t *frame;
	} awaited;

	/* The application. */
	bool delivering, closing;
	struct xy_pending_event events[XY_EVENTS_MAX];
	unsigned events_count;
	char words[XY_WORDS_SIZE];
	int error; /* -errno that goes with the words */
	struct xy_client_stats stats;
	uint64_t lost_told;       /* of stats.lost, what an event has told */
	struct xy_loss lost_last; /* of the newest message in fragments that was lost */

	/* Event style. */
	int epoll_fd, timer_fd;
	bool evented;
	uint32_t interest; /* EPOLLIN | EPOLLOUT as told to epoll */
	uint64_t armed_ns; /* UINT64_MAX = not */
};

/* ---- headers as they lie on the stream ------------------------------------------------------- */

static inline uint32_t xy_header_length(const void *frame)
{
	return xy_be32(((const struct xy_header *)frame)->length);
}

static inline uint16_t xy_header_flags(const void *frame)
{
	return xy_be16(((const struct xy_header *)frame)->flags);
}

/* ---- event.c --------------------------------------------------------------------------------- */

/* Keeps the words for xy_client_error() and returns `error`, which is -errno. */
int xy_client_fail(struct xy_client *client, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Keeps an event, with the words of now, until xy_client_dispatch(). */
void xy_client_tell(struct xy_client *client, enum xy_event event);
/* Calls on_event for what was kept. */
void xy_client_dispatch(struct xy_client *client);
int xy_client_events_open(struct xy_client *client);
void xy_client_events_close(struct xy_client *client);
void xy_client_watch(struct xy_client *client); /* a new socket */
/* What to poll the socket for: POLLIN, POLLOUT, which epoll calls the same. */
short xy_client_interest(const struct xy_client *client);
/* Brings the descriptor of the event style in line with what is wanted. */
void xy_client_arm(struct xy_client *client);

/* ---- dial.c ---------------------------------------------------------------------------------- */

/* Starts an attempt to connect; the outcome comes by state. */
void xy_client_dial(struct xy_client *client);
/* The socket of an attempt is ready for what was waited for. */
void xy_client_dial_step(struct xy_client *client);
static inline bool xy_client_dialing(const struct xy_client *client)
{
	return client->state == XY_CLIENT_CONNECTING || client->state == XY_CLIENT_SECURING;
}
void xy_client_hang_up(struct xy_client *client);

/* ---- channel.c ------------------------------------------------------------------------------- */

/* Reads the files of a connected client, and begins TLS; xy_client_fail() was called on errors. */
int xy_channel_secure(struct xy_client *client);
int xy_channel_handshake(struct xy_client *client); /* -EAGAIN: see xy_tls_waits() */
void xy_channel_close(struct xy_client *client);    /* what TLS has to say, and has */
/* As recv(2) and send(2), with -errno; -EINTR of a recv that waits only. Of a plain connection
 * -EAGAIN also when the kernel has no memory to give out what it has. recv says whether it
 * `drained`. */
ssize_t xy_channel_recv(struct xy_client *client, void *buffer, size_t size, int flags);
ssize_t xy_channel_send(struct xy_client *client, const void *data, size_t length);
/* xy_client_fail() after such an error: "WHAT: WHY", or a sentence about TLS. */
int xy_channel_fail(struct xy_client *client, int error, const char *what);
/* Bytes may be had that poll does not tell of. */
static inline bool xy_channel_pending(const struct xy_client *client)
{
	return client->tls != NULL && client->state >= XY_CLIENT_GREETING && !client->in.drained &&
	       !client->in.full;
}
/* Sent, but not with the kernel. */
static inline bool xy_channel_unsent(const struct xy_client *client)
{
	return client->tls != NULL && xy_tls_unsent(client->tls) > 0;
}

/* Whether sending waits for input. */
static inline bool xy_channel_stalled(const struct xy_client *client)
{
	return client->tls != NULL && xy_tls_stalled(client->tls);
}

/* ---- connection.c ---------------------------------------------------------------------------- */

int xy_client_greet(struct xy_client *client);
/* Queues a control frame. Payload up to max_frame. -ENOMEM, -ENOBUFS. */
int xy_client_control(struct xy_client *client, enum xy_type type, uint64_t target,
		      uint64_t correlation, const void *payload, size_t length);
int xy_client_send_sync(struct xy_client *client);
static inline bool xy_client_holding(const struct xy_client *client)
{
	return client->sync_out != client->sync_in;
}
void xy_client_on_welcome(struct xy_client *client, const uint8_t *frame, uint32_t length);
void xy_client_on_synced(struct xy_client *client, const uint8_t *frame);
void xy_client_on_sync_wanted(struct xy_client *client);
void xy_client_on_goodbye(struct xy_client *client);
/* The proxy has said GOODBYE, and has handed on what was sent: time to go. */
static inline bool xy_client_parted(const struct xy_client *client)
{
	return client->parting && !xy_client_holding(client);
}

/* ---- pace.c ---------------------------------------------------------------------------------- */

/* Whether a SYNC should go before this batch of DATA. */
bool xy_pace_due(struct xy_client *client, const uint8_t *batch, size_t length);
void xy_pace_sent(struct xy_client *client, const uint8_t *batch, size_t length);
void xy_pace_start(struct xy_client *client);  /* a new connection */
void xy_pace_wanted(struct xy_client *client); /* the proxy asked for a SYNC */
void xy_pace_synced(struct xy_client *client); /* a SYNC is sent */

/* Timers: end of an attempt, back-off, heartbeats, requests. */
void xy_client_tick(struct xy_client *client);
uint64_t xy_client_next_due(const struct xy_client *client);
/* Sends what is due, waits until the socket has something to say or a timer is due, then does it
 * (intake, not delivery). -ETIMEDOUT when deadline_ns has passed, -EINTR, -EAGAIN when inbound
 * memory is full and only input could help, -ENOTCONN when closed for good. */
int xy_client_wait(struct xy_client *client, uint64_t deadline_ns);

static inline uint64_t xy_client_deadline(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : xy_clock_ns() + (uint64_t)timeout_ms * XY_NS_PER_MS;
}

/* ---- nap.c ----------------------------------------------------------------------------------- */

/* Before a wait; `now` = xy_clock_ns(). 1 when it slept for a moment, because of late the client
 * was woken very often; else 0, or -EINTR. */
int xy_client_nap(struct xy_client *client, uint64_t now);

/* ---- reconnect.c ----------------------------------------------------------------------------- */

/* Ends the connection for the reason that the words of now give; goes to back-off, or closes. */
void xy_client_disconnect(struct xy_client *client);
void xy_client_close_for_good(struct xy_client *client);
void xy_client_restore(struct xy_client *client);
void xy_client_restored(struct xy_client *client); /* one more answer; READY after the last */

/* ---- queue.c --------------------------------------------------------------------------------- */

/* Room for `length` more bytes behind tail. -ENOMEM. */
int xy_queue_reserve(struct xy_queue *queue, size_t length);
void xy_queue_reset(struct xy_queue *queue);
void xy_queue_free(struct xy_queue *queue);
/* Sends `length` bytes at the head in one call. 0, -EAGAIN (the rest is unsent), or -errno. */
int xy_queue_send(struct xy_client *client, struct xy_queue *queue, size_t length);
/* Sends what may be sent now; `everything`: batches that are not full, too. 0 when nothing that may
 * go is left, -EAGAIN when something is. */
int xy_client_push(struct xy_client *client, bool everything);
/* A look at the socket that does not wait: takes in what is there, says whether it is writable. */
bool xy_client_look(struct xy_client *client);

static inline size_t xy_queue_length(const struct xy_queue *queue)
{
	return queue->tail - queue->head;
}

/* ---- outbound.c ------------------------------------------------------------------------------ */

struct xy_outgoing {
	struct xy_topic
		*topic;  /* its target and counter, which a new connection may change; NULL: */
	uint64_t target; /* an endpoint */
	uint16_t flags;
	uint64_t *sequence; /* counter of the target; NULL = not counted */
	uint64_t correlation;
	const void *data;
	size_t length;
};

/* Queues a message, all of it or nothing. Waits for room when `wait`. Sets target and counter of
 * one to a topic. -EMSGSIZE, -EAGAIN … */
int xy_client_enqueue(struct xy_client *client, struct xy_outgoing *message, bool wait);
/* Fixes length, flags and CRC of the open frame: no message joins it any more. */
void xy_outbound_seal(struct xy_client *client);
/* The next send: whole frames of one target (protocol rule 7), with their ack. */
size_t xy_outbound_batch(struct xy_client *client, bool everything);
/* Of a frame of DATA. */
struct xy_loss xy_frame_loss(const uint8_t *frame);
/* Counts it in stats.lost: a message in fragments once, however many of them are lost. */
void xy_client_lose(struct xy_client *client, struct xy_loss loss);

/* ---- inbound.c ------------------------------------------------------------------------------- */

/* Reads once and takes in what came. 1 when something came, 0 when nothing is there, -EAGAIN when
 * memory is full, -ENOTCONN when the connection ended (xy_client_disconnect() was called). */
int xy_inbound_intake(struct xy_client *client);
/* As intake, but waits for XY_PATIENCE_NS at most; also -EINTR. Of a socket that is `patient`. */
int xy_inbound_await(struct xy_client *client);
/* The frame at the position, or NULL; moves over block borders. */
uint8_t *xy_inbound_frame(struct xy_position *position);
/* Lets go of frames that are dead. */
void xy_inbound_release(struct xy_client *client);
/* Lets go of what next() and request() gave out. */
void xy_inbound_let_go(struct xy_client *client);
void xy_inbound_kill(struct xy_client *client, uint8_t *frame); /* a frame of ours is done with */
void xy_inbound_end(struct xy_client *client); /* the connection ended: no more of this stream */
void xy_inbound_free(struct xy_client *client);
/* Payload of a DATA frame without its CRC; false when the CRC is wrong (counted). */
bool xy_inbound_payload(struct xy_client *client, const uint8_t *frame, const uint8_t **ret_data,
			size_t *ret_length);

/* ---- assembly.c ------------------------------------------------------------------------------ */

enum xy_assembled { XY_ASSEMBLED_PART, XY_ASSEMBLED_DONE, XY_ASSEMBLED_LATER };

/* Takes a fragment; the frame is marked. LATER: no memory until the application takes messages;
 * nothing has changed. */
enum xy_assembled xy_assembly_add(struct xy_client *client, uint8_t *frame);
/* Anything but the next fragment came from this source. */
void xy_assembly_discard(struct xy_client *client, uint64_t source);
void xy_assembly_discard_all(struct xy_client *client);
struct xy_assembly *xy_assembly_of(const uint8_t *frame); /* NULL when it holds none */
void xy_assembly_drop(struct xy_client *client, struct xy_assembly *assembly); /* a complete one */

/* ---- deliver.c ------------------------------------------------------------------------------- */

/* Calls handlers in order. With ret_message stops at the first message that has none and returns 1
 * with it; without, leaves such messages for next(). 0 when nothing is left. */
int xy_client_deliver(struct xy_client *client, struct xy_message *ret_message);
/* The message in a frame that is no bundle; false when it must be dropped (counted). */
bool xy_deliver_plain(struct xy_client *client, const uint8_t *frame,
		      const struct xy_binding *binding, struct xy_message *ret_message);

/* ---- topic.c --------------------------------------------------------------------------------- */

int xy_topic_ask(struct xy_client *client, struct xy_topic *topic);
int xy_subscription_ask(struct xy_client *client, struct xy_subscription *subscription);
void xy_topic_answered(struct xy_client *client, struct xy_topic *topic, uint64_t id, int error);
void xy_subscription_answered(struct xy_client *client, struct xy_subscription *subscription,
			      uint64_t id, int error);
/* The connection that they were asked for on is over. */
void xy_subscriptions_forget(struct xy_client *client);
void xy_topics_free(struct xy_client *client);

/* ---- binding.c ------------------------------------------------------------------------------- */

/* A topic id has this subject. -EINVAL, -ENOMEM. */
int xy_binding_learn(struct xy_client *client, uint64_t id, const char *subject, size_t length);
/* NULL when unknown. Its subscription is up to date; NULL when none of ours matches. */
struct xy_binding *xy_binding_of(struct xy_client *client, uint64_t id);
void xy_binding_forget_all(struct xy_client *client);
/* Counts what is missing before this sequence. */
void xy_stream_count(struct xy_client *client, const struct xy_message *first, uint64_t target,
		     uint64_t messages);
void xy_streams_free(struct xy_client *client);

/* ---- request.c ------------------------------------------------------------------------------- */

uint64_t xy_call_begin(struct xy_client *client, struct xy_call *call); /* 0 = no memory */
void xy_call_end(struct xy_client *client, struct xy_call *call);
void xy_call_ok(struct xy_client *client, uint64_t correlation, uint64_t target);
/* `words` are kept already by xy_client_fail(). false when nobody asked. */
bool xy_call_error(struct xy_client *client, uint64_t correlation, int error);
/* Whether request() waits for this frame. */
bool xy_request_awaits(const struct xy_client *client, const uint8_t *frame);
/* The asynchronous request that waits for this reply; NULL when none. */
struct xy_request *xy_request_find(struct xy_client *client, uint64_t correlation);
void xy_request_done(struct xy_client *client, struct xy_request *request);
void xy_requests_expire(struct xy_client *client, uint64_t now_ns);
void xy_requests_fail_all(struct xy_client *client, int error); /* words of now */
/* Calls the handlers of failed requests. */
void xy_requests_dispatch(struct xy_client *client);
void xy_requests_free(struct xy_client *client);

#endif
