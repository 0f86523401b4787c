/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/*
 * libxylem: exchange messages with other processes through a xylem proxy.
 *
 * Threads: one thread per client object at a time; objects are independent of each other.
 *
 * Two styles. Blocking: call xy_client_next() for messages, everything else waits as long as it
 * needs. Events: put xy_client_fd() into your own poll loop, call xy_client_process() when it is
 * readable; handlers are called from there. Both can be mixed. Message handlers are called by next,
 * process and drain only, events also by connect, flush and sync. A handler may call everything but
 * these three (-EBUSY); after xy_client_close() in a handler the client is gone as soon as the
 * handler returns.
 *
 * Errors: 0 or -errno; xy_client_error() has the last one in words. Nothing here raises a signal.
 * Over TLS everything is as by TCP, but for lanes, which such a connection never has: a stream that
 * is cut is a lost connection, and xy_client_fd() is readable also for what has been decrypted
 * already.
 * What libxylem does by itself: whole frames only, batches and bundles of queued messages, acks,
 * PONG, SYNC when wanted, reconnection with jittered back-off, restoring of declarations and
 * subscriptions afterwards.
 */
#ifndef XYLEM_CLIENT_H
#define XYLEM_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct xy_client;
struct xy_topic; /* a declared subject */
struct xy_subscription;

/* A message as the application sees it: unbundled, reassembled, checked. Valid until the handler
 * returns, or until the next xy_client_next() or xy_client_process(); a reply also until the next
 * xy_client_request(). */
struct xy_message {
	const char *subject; /* "" when it was sent directly to this endpoint */
	const void *data;
	size_t length;
	uint64_t source;      /* endpoint of the sender */
	uint64_t sequence;    /* the sender's count of messages to this target; 0 = not counted, as
				 messages to an endpoint are */
	uint64_t timestamp;   /* sender's CLOCK_REALTIME, ns; 0 = not stamped */
	uint64_t correlation; /* of a request; 0 = none */
	bool reply_wanted;
	struct xy_subscription
		*subscription; /* first of ours that matches; NULL when sent directly */
};

enum xy_event {
	XY_EVENT_CONNECTED = 1,    /* first time */
	XY_EVENT_DISCONNECTED = 2, /* will reconnect unless told not to */
	XY_EVENT_RECONNECTED = 3,  /* restored; messages may have been missed (a gap) */
	XY_EVENT_ERROR =
		4, /* an ERROR of the proxy that answers no call of ours: see xy_client_error() */
	XY_EVENT_DRAINING = 5, /* the proxy said GOODBYE: what is queued waits for its successor */
	XY_EVENT_CLOSED = 6,   /* for good */
};

typedef void (*xy_message_fn)(struct xy_client *client, const struct xy_message *message,
			      void *context);
typedef void (*xy_event_fn)(struct xy_client *client, enum xy_event event, void *context);

struct xy_client_options {
	size_t size;        /* sizeof(struct xy_client_options) */
	const char *server; /* HOST:PORT, [V6]:PORT, the same behind tls:, or unix:PATH; NULL =
			       $XYLEM_SERVER or 127.0.0.1:7400 */
	const char *name;   /* shown by status; NULL = program name and pid */
	const char *token;  /* NULL = see token_file */
	bool no_lane;       /* never ask for a lane */
	bool no_reconnect;
	bool no_bundle;              /* one frame per message */
	bool crc;                    /* add a CRC32C to what is sent */
	uint32_t connect_timeout_ms; /* default 5,000 */
	uint32_t reconnect_min_ms;   /* default 50 */
	uint32_t reconnect_max_ms;   /* default 5,000 */
	size_t inbound_max;  /* bytes of received, undelivered messages kept; default 64 MiB + 1 MiB
			      */
	size_t outbound_max; /* bytes of unsent messages kept; default 4 MiB */
	xy_event_fn on_event; /* may be NULL */
	xy_message_fn
		on_direct; /* messages to this endpoint that answer no request; NULL = by next() */
	void *context;     /* of both */
	/* A file that holds a token, read anew for each connection. With neither of the two: the
	 * token in $XYLEM_TOKEN, else in the file $XYLEM_TOKEN_FILE, else none. */
	const char *token_file;

	/* Of tls:HOST:PORT; with another server -EINVAL, but variables do nothing then: a process
	 * may have servers of both kinds. Files of PEM, read anew for each
	 * connection. The server's certificate is verified, always. */
	const char *tls_ca;   /* whom it must lead to; NULL = $XYLEM_TLS_CA, else whom the system
				 trusts. Others may not write to it */
	const char *tls_cert; /* ours, then those between it and a CA, to show to a server that
				 asks; NULL = $XYLEM_TLS_CERT, else none … */
	const char *tls_key; /* … and its key; NULL = $XYLEM_TLS_KEY. A file as a token's: of root
				or this user, others may not read it */
	const char *tls_name; /* what it must be issued for; NULL = $XYLEM_TLS_NAME, else HOST */

	/* When connect fails: why, in words; may be NULL. */
	char *why;
	size_t why_size;

	/* What follows saves wake-ups of one that waits in next(), request() and the like. */
	bool no_spin; /* never look for 20 us before sleeping, as one does whose waits are short:
			 takes less CPU time, and longer */
	bool no_nap; /* never sleep for 40 us between reads of a fast stream: wakes for each message
			instead */
};

/* Connects, says HELLO and SYNCs (waits up to connect_timeout_ms). Over TLS also -EPROTO: the two
 * cannot agree, or a certificate is no good; -ECONNABORTED: the server hung up; -EPERM: a file that
 * others may write to, or a key that they may read. */
int xy_client_connect(const struct xy_client_options *options, struct xy_client **ret_client);
/* Drops what is unsent; NULL is fine. Use drain first when it matters. */
void xy_client_close(struct xy_client *client);
/* Sends what is queued, says GOODBYE, delivers what still comes, until the proxy closes or timeout.
 */
int xy_client_drain(struct xy_client *client, int timeout_ms);

const char *xy_client_error(const struct xy_client *client); /* last error in words; "" when none */
uint64_t xy_client_endpoint(const struct xy_client *client); /* changes with each reconnection */
bool xy_client_on_lane(const struct xy_client *client);

/* Event style: readable when there is something to do (socket, timers). */
int xy_client_fd(const struct xy_client *client);
/* Does what can be done without waiting; calls handlers. 0, or -errno when closed for good. */
int xy_client_process(struct xy_client *client);

/* The same subject twice gives the same topic. */
int xy_client_declare(struct xy_client *client, const char *subject, struct xy_topic **ret_topic);
uint64_t xy_topic_id(const struct xy_topic *topic);
const char *xy_topic_subject(const struct xy_topic *topic);

/* Queues a message; sends at the latest at flush, next, process, or when enough is queued for one
 * send. (next, while more messages wait to be taken, sends what has been queued for 100 us.) When
 * outbound_max is reached it waits for room, receiving meanwhile (into at most inbound_max);
 * -EAGAIN when that is full too: take messages with next() and try again. */
int xy_client_publish(struct xy_client *client, struct xy_topic *topic, const void *data,
		      size_t length);
/* As publish, but never waits: -EAGAIN instead. */
int xy_client_try_publish(struct xy_client *client, struct xy_topic *topic, const void *data,
			  size_t length);
/* To an endpoint. */
int xy_client_send(struct xy_client *client, uint64_t endpoint, const void *data, size_t length);
/* Waits until everything queued is with the kernel. -ETIMEDOUT. timeout_ms < 0 = for ever. -EINTR
 * after a signal; -EAGAIN: as publish. Both hold for publish, sync and request, too. */
int xy_client_flush(struct xy_client *client, int timeout_ms);
/* Flushes and waits until the proxy has handed on all of it (a SYNC). */
int xy_client_sync(struct xy_client *client, int timeout_ms);

struct xy_subscribe_options {
	size_t size;          /* sizeof(struct xy_subscribe_options) */
	const char *group;    /* NULL = plain */
	const char *overflow; /* "block" (default), "drop-newest", "drop-oldest", "disconnect" */
	uint32_t stall_ms;    /* 0 = default */
	bool no_echo;         /* not our own messages */
	xy_message_fn on_message; /* NULL = delivered by xy_client_next() */
	void *context;
};
/* NULL options = defaults. Returns when the proxy has confirmed it; waits up to connect_timeout_ms.
 * -ETIMEDOUT; -EAGAIN: as publish. After any error there is no such subscription: the proxy is
 * asked to take back what it confirms too late. */
int xy_client_subscribe(struct xy_client *client, const char *pattern,
			const struct xy_subscribe_options *options,
			struct xy_subscription **ret_subscription);
int xy_client_unsubscribe(struct xy_client *client, struct xy_subscription *subscription);

/* The next message that has no handler. timeout_ms: 0 = only what is here, < 0 = for ever.
 * -ETIMEDOUT; -EINTR after a signal. */
int xy_client_next(struct xy_client *client, int timeout_ms, struct xy_message *ret_message);

/* Sends a request and waits for its reply. -ENOENT: nobody subscribes (no-responders). -ETIMEDOUT.
 */
int xy_client_request(struct xy_client *client, struct xy_topic *topic, const void *data,
		      size_t length, int timeout_ms, struct xy_message *ret_reply);
/* As request, without waiting: on_reply is called once, with message NULL when none came (then
 * xy_client_error() says why). */
int xy_client_request_async(struct xy_client *client, struct xy_topic *topic, const void *data,
			    size_t length, int timeout_ms, xy_message_fn on_reply, void *context);
int xy_client_reply(struct xy_client *client, const struct xy_message *request, const void *data,
		    size_t length);

struct xy_client_stats {
	uint64_t messages_out, bytes_out, frames_out,
		sends; /* messages published, their payload bytes … */
	uint64_t messages_in, bytes_in, frames_in, reads;
	uint64_t syncs;        /* SYNCs sent … */
	uint64_t syncs_wanted; /* … and asked for by the proxy */
	uint64_t reconnects;
	uint64_t gaps;    /* messages missing by sequence, of plain subscriptions */
	uint64_t corrupt; /* frames dropped: CRC, bundle, fragments */
	uint64_t lost;    /* queued messages dropped: failed sends, lost connections */
};
void xy_client_stats(const struct xy_client *client, struct xy_client_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
