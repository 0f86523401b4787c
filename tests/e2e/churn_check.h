/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a receiver may get while everything around it changes: payloads that follow from source,
 * topic and sequence; who published how much; and what each receiver and each group has had.
 *
 * Many threads. The first thing that goes wrong is kept, and all threads see that it did.
 */
#ifndef TEST_CHURN_CHECK_H
#define TEST_CHURN_CHECK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xylem/client.h>

#define LARGEST        (200u << 10) /* bytes of a message: more than three frames */
#define TOPICS         6
#define GROUPS         3
#define SOURCES        1024       /* connections of publishers in one run; power of two */
#define STREAMS        4096       /* sources times topics that one receiver may see; power of two */
#define GROUP_MESSAGES (1u << 15) /* that one source may publish on a topic with groups */
#define NO_GROUP       -1

static const char *const subject[TOPICS] = {"churn.a.0", "churn.a.1",  "churn.b.0",
					    "solo.0",    "work.mixed", "work.lanes"};
static const bool grouped[TOPICS] = {[4] = true, [5] = true};

/* ---- the first failure ----------------------------------------------------------------------- */

static _Atomic(bool) broken;
static char broken_why[512];
static pthread_mutex_t broken_lock = PTHREAD_MUTEX_INITIALIZER;

#define BREAK(...)                                                             \
	do {                                                                   \
		pthread_mutex_lock(&broken_lock);                              \
		if (!atomic_load(&broken))                                     \
			snprintf(broken_why, sizeof(broken_why), __VA_ARGS__); \
		atomic_store(&broken, true);                                   \
		pthread_mutex_unlock(&broken_lock);                            \
	} while (0)

/* ---- payloads -------------------------------------------------------------------------------- */

static inline uint64_t mixed(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* Most are small, a few need several frames. */
static size_t payload_length(uint64_t key)
{
	uint64_t shape = key >> 48, size = key & 0xffffffff;

	if (shape % 8192 == 0)
		return size % (LARGEST + 1);
	if (shape % 1024 == 1)
		return size % 70000;
	if (shape % 64 == 2)
		return size % 5000;
	return size % 97;
}

static size_t payload_make(uint64_t source, unsigned topic, uint64_t sequence, uint8_t *to)
{
	uint64_t word = mixed(source ^ mixed(sequence * TOPICS + topic));
	size_t length = payload_length(word);

	for (size_t at = 0; at < length; at += sizeof(word)) {
		uint64_t out;

		word += 0x9e3779b97f4a7c15u;
		out = word ^ (word >> 29);
		memcpy(to + at, &out, sizeof(out));
	}
	return length;
}

/* ---- who published what ---------------------------------------------------------------------- */

struct source {
	uint64_t endpoint;
	_Atomic(uint64_t) sent[TOPICS]; /* counted before it is published */
	_Atomic(uint8_t) had[GROUPS][GROUP_MESSAGES + 1];
};

static _Atomic(struct source *) sources[SOURCES];
static unsigned source_count;
static pthread_mutex_t source_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(uint64_t) checked;           /* deliveries found right */
static _Atomic(uint64_t) group_had[GROUPS]; /* of them, of each group */

static struct source *source_find(uint64_t endpoint)
{
	struct source *source;

	for (unsigned at = endpoint % SOURCES;; at = (at + 1) % SOURCES) {
		source = atomic_load_explicit(&sources[at], memory_order_acquire);
		if (source == NULL || source->endpoint == endpoint)
			return source;
	}
}

/* Before the first message of a connection. NULL: there were too many. */
static struct source *source_add(uint64_t endpoint)
{
	struct source *source = NULL;
	unsigned at = endpoint % SOURCES;

	pthread_mutex_lock(&source_lock);
	if (source_count < SOURCES / 2) {
		source = calloc(1, sizeof(*source));
		while (atomic_load(&sources[at]) != NULL)
			at = (at + 1) % SOURCES;
	}
	if (source != NULL) {
		source->endpoint = endpoint;
		source_count++;
		atomic_store_explicit(&sources[at], source, memory_order_release);
	} else {
		BREAK("too many connections of publishers, or no memory");
	}
	pthread_mutex_unlock(&source_lock);
	return source;
}

static void checks_begin(void)
{
	for (unsigned i = 0; i < SOURCES; i++) {
		free(atomic_load(&sources[i]));
		atomic_store(&sources[i], NULL);
	}
	source_count = 0;
	atomic_store(&checked, 0);
	for (unsigned g = 0; g < GROUPS; g++)
		atomic_store(&group_had[g], 0);
	atomic_store(&broken, false);
}

/* ---- what a receiver had --------------------------------------------------------------------- */

struct stream {
	uint64_t endpoint;
	unsigned topic, connection;
	uint64_t last;
};

struct receiver {
	const char *name;
	int group;           /* NO_GROUP, or which one it is in */
	bool gapless;        /* plain and `block`: nothing missing after the first message … */
	bool whole;          /* … of a connection, and the first one is the first one sent */
	uint64_t deaf;       /* the endpoint whose messages it must not get: its own */
	unsigned connection; /* counts its own connections */
	uint64_t count;
	struct stream stream[STREAMS];
	uint8_t expected[LARGEST + 8];
};

static struct stream *stream_of(struct receiver *receiver, uint64_t endpoint, unsigned topic)
{
	unsigned at = (endpoint + topic * 37) % STREAMS;

	for (unsigned tries = 0; tries < STREAMS; tries++, at = (at + 1) % STREAMS) {
		struct stream *stream = &receiver->stream[at];

		if (stream->endpoint == 0)
			*stream = (struct stream){.endpoint = endpoint, .topic = topic};
		if (stream->endpoint == endpoint && stream->topic == topic)
			return stream;
	}
	return NULL;
}

static unsigned topic_of(const char *name)
{
	unsigned topic = 0;

	while (topic < TOPICS && strcmp(subject[topic], name) != 0)
		topic++;
	return topic;
}

static bool order_right(struct receiver *receiver, struct stream *stream, uint64_t sequence)
{
	bool first = stream->connection != receiver->connection;
	uint64_t last = stream->last;

	stream->last = sequence;
	stream->connection = receiver->connection;
	if (sequence <= last) {
		BREAK("%s: %016lx %s: %lu came after %lu", receiver->name, stream->endpoint,
		      subject[stream->topic], sequence, last);
		return false;
	}
	if (receiver->gapless && sequence != last + 1 && (!first || receiver->whole)) {
		BREAK("%s: %016lx %s: %lu came after %lu, what is between is lost", receiver->name,
		      stream->endpoint, subject[stream->topic], sequence, last);
		return false;
	}
	return true;
}

/* Exactly what was published, in order, not a second time. */
static bool receiver_take(struct receiver *receiver, const struct xy_message *message)
{
	struct source *source = source_find(message->source);
	unsigned topic = topic_of(message->subject);
	struct stream *stream;
	size_t length;

	if (source == NULL || topic == TOPICS || message->sequence == 0 ||
	    message->sequence > atomic_load(&source->sent[topic])) {
		BREAK("%s: %016lx %s: %lu was never sent", receiver->name, message->source,
		      message->subject, message->sequence);
		return false;
	}
	if (message->source == receiver->deaf) {
		BREAK("%s: %s: %lu is its own, and it declined echo", receiver->name,
		      message->subject, message->sequence);
		return false;
	}
	length = payload_make(message->source, topic, message->sequence, receiver->expected);
	if (length != message->length || memcmp(receiver->expected, message->data, length) != 0) {
		BREAK("%s: %016lx %s: %lu has other bytes than were sent (%zu for %zu)",
		      receiver->name, message->source, message->subject, message->sequence,
		      message->length, length);
		return false;
	}
	stream = stream_of(receiver, message->source, topic);
	if (stream == NULL) {
		BREAK("%s: too many streams", receiver->name);
		return false;
	}
	if (!order_right(receiver, stream, message->sequence))
		return false;
	if (receiver->group != NO_GROUP) {
		if (atomic_fetch_add(&source->had[receiver->group][message->sequence], 1) != 0) {
			BREAK("%s: %016lx %s: %lu was given to the group twice", receiver->name,
			      message->source, message->subject, message->sequence);
			return false;
		}
		atomic_fetch_add(&group_had[receiver->group], 1);
	}
	receiver->count++;
	atomic_fetch_add_explicit(&checked, 1, memory_order_relaxed);
	return true;
}

/* ---- when nothing is published any more ------------------------------------------------------ */

/* Whether a plain receiver that was there all the time has everything of these topics. */
static bool receiver_complete(struct receiver *receiver, unsigned topics)
{
	for (unsigned i = 0; i < SOURCES; i++) {
		struct source *source = atomic_load(&sources[i]);

		for (unsigned t = 0; source != NULL && t < TOPICS; t++) {
			uint64_t sent = atomic_load(&source->sent[t]);

			if ((topics & 1u << t) != 0 && sent != 0 &&
			    stream_of(receiver, source->endpoint, t)->last != sent)
				return false;
		}
	}
	return true;
}

/* Where something is missing: the first one, in words. */
static const char *missing_of(struct receiver *receiver, unsigned topics, char *buffer, size_t size)
{
	for (unsigned i = 0; i < SOURCES * TOPICS; i++) {
		struct source *source = atomic_load(&sources[i / TOPICS]);
		unsigned t = i % TOPICS;
		uint64_t sent, got = 0;

		if (source == NULL || (topics & 1u << t) == 0)
			continue;
		sent = atomic_load(&source->sent[t]);
		if (receiver->group == NO_GROUP)
			got = stream_of(receiver, source->endpoint, t)->last;
		else
			while (got < sent &&
			       atomic_load(&source->had[receiver->group][got + 1]) != 0)
				got++;
		if (got == sent)
			continue;
		snprintf(buffer, size, "%016lx %s: %lu of %lu", source->endpoint, subject[t],
			 got + 1, sent);
		return buffer;
	}
	return "nothing";
}

static uint64_t sent_on(unsigned topic)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < SOURCES; i++) {
		struct source *source = atomic_load(&sources[i]);

		if (source != NULL)
			sum += atomic_load(&source->sent[topic]);
	}
	return sum;
}

#endif
