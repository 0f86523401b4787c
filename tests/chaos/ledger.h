/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all processes of a chaos run share: the plan, and who sent and got what.
 *
 * One mapping, made by the driver, inherited by its children. It outlives whoever is killed. Each
 * field has one writing process, named below, unless it is a counter that grows by atomic adds.
 *
 * Words. A worker is a place in the plan; a life of it is one process (numbered from 1; the two
 * newest are kept, by parity). A channel is one topic, or one endpoint, that a worker sends to. Its
 * messages are counted from 1 in each life. A stream is what one receiver gets of one channel of
 * one life. The accounting rules are in account.h.
 */
#ifndef CHAOS_LEDGER_H
#define CHAOS_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WORKERS_MAX       96
#define CHANNELS_MAX      4
#define SUBSCRIPTIONS_MAX 4
#define PROXIES           2
#define LOSSES_MAX        64
#define ENDPOINTS_MAX     8
#define RINGS_MAX         16
#define RING_SIZE         (1u << 20)
#define NOTES_MAX         4096
#define CLAIMS_MAX        16384
#define TROUBLES_MAX      64
#define ABSENCES_MAX      64
#define KINDS_MAX         256
#define KIND_TOLD         10 /* failures of one kind that are told; the rest is counted */
#define NOT_YET           UINT64_MAX
#define NO_INDEX          UINT32_MAX

/* ---- plan: written by the driver before anybody starts --------------------------------------- */

enum worker_kind { WORKER_LIBRARY, WORKER_PYTHON, WORKER_RAW, WORKER_GARBAGE };
enum way { WAY_LANE, WAY_NO_LANE, WAY_UNIX, WAY_TLS };
enum channel_kind { CHANNEL_NONE, CHANNEL_TOPIC, CHANNEL_DIRECT, CHANNEL_REQUEST, CHANNEL_NOBODY };

struct channel_plan {
	enum channel_kind kind;
	char subject[32];
	uint32_t target; /* DIRECT: which worker */
	uint32_t rate;   /* messages a second */
	uint32_t size_max;
	uint32_t ring[2]; /* of the queue groups that it feeds */
};

struct subscription_plan {
	char pattern[32];  /* "" = none */
	char group[16];    /* "" = plain */
	uint32_t group_id; /* NO_INDEX = plain */
	char overflow[16];
	uint32_t stall_ms;
	bool comes_and_goes;
	bool replies; /* answers what wants a reply */
};

struct worker_plan {
	enum worker_kind kind;
	enum way way;
	uint32_t proxy;
	bool crc, no_bundle, tight;
	bool spared;     /* no fault is caused to it, but those of its proxy */
	bool may_be_cut; /* a policy of its, or want of memory, closes it */
	bool alone;      /* all it sends is for one receiver, on a lane as it is: the kernel's */
	uint32_t naps;   /* a nap before so many of 1,000 turns … */
	uint32_t nap_ms; /* … of up to so long */
	char name[32];
	struct channel_plan channel[CHANNELS_MAX];
	struct subscription_plan subscription[SUBSCRIPTIONS_MAX];
};

/* ---- what a sender says ---------------------------------------------------------------------- */

/* Messages (from, to] may be missing: the connection that carried them ended. */
struct loss {
	_Atomic(uint64_t) from, to;
};

struct channel_state {
	_Atomic(uint64_t) queued; /* newest number given out, before it is sent */
	_Atomic(uint64_t) synced; /* all up to it are handed on, says the proxy */
	_Atomic(uint64_t) losses; /* ever; the newest LOSSES_MAX are kept */
	struct loss loss[LOSSES_MAX];
};

struct life {
	_Atomic(uint32_t) number;
	_Atomic(uint64_t) lost;   /* stats.lost of the library: failed sends */
	_Atomic(uint64_t) errors; /* ERRORs that answer DATA to an endpoint */
	struct channel_state channel[CHANNELS_MAX];
};

struct endpoint {
	_Atomic(uint64_t) id;
	_Atomic(uint32_t) order; /* among this worker's */
	_Atomic(uint32_t) life;
};

/* ---- what a receiver says -------------------------------------------------------------------- */

struct stream {
	_Atomic(uint32_t) life; /* of the sender; 0 = none */
	_Atomic(bool) covered;  /* a plain subscription brings it, or it is direct */
	uint64_t source, source_before;
	uint32_t source_order; /* of source */
	uint64_t seen_before;  /* of source_before */
	_Atomic(uint64_t) seen;
	_Atomic(uint64_t) floor; /* what is above must arrive */
};

/* Something is missing that the sender must have been told of: judge.c compares. */
struct claim {
	_Atomic(bool) written;
	uint64_t ms;
	uint32_t receiver, sender, life, channel;
	uint64_t from, to, missing;
};

enum tally {
	TALLY_TOPIC,   /* messages checked, by how they came … */
	TALLY_GROUP,   /* … to a member of a queue group */
	TALLY_DIRECT,  /* … to an endpoint */
	TALLY_REPLY,   /* … as reply */
	TALLY_EMPTY,   /* of these: 0 bytes */
	TALLY_LARGE,   /* of these: more than 64 KiB */
	TALLY_HUGE,    /* of these: more than 1 MiB */
	TALLY_NOBODY,  /* requests answered with no-responders, as they must be */
	TALLY_TIMEOUT, /* requests without a reply, explained */
	TALLY_BEFORE,  /* missing: sent before the (re)subscription was confirmed */
	TALLY_ENDED,   /* missing: the sender's connection ended before SYNCED */
	TALLY_POLICY,  /* missing: dropped by an overflow policy */
	TALLY_OPEN,    /* missing: a failed send, or an ERROR told the sender */
	TALLY_MEMBER,  /* missing: lost with a member of the queue group */
	TALLY_AWAY,    /* missing: the queue group had no member */
	TALLY_LATE,    /* came by the old connection of a sender that already had a new one */
	TALLY_BYTES,
	TALLY_VISITS, /* of clients that send garbage */
	TALLY_COUNT,
};

/* Why a connection ended. */
enum ending {
	ENDING_SLOW,     /* slow-consumer, after a stop, a nap, or by policy */
	ENDING_RESTART,  /* the proxy was stopped or killed */
	ENDING_INJECTED, /* RST, half-close */
	ENDING_COUNT,
};

/* Faults that a worker causes itself, when told. */
enum order { ORDER_NONE, ORDER_RESET, ORDER_HALF_CLOSE, ORDER_RESET_AND_DIE };

#define STALL_LONG        10000 /* ms; the longest stall_ms */
/* ms from obeying until the end of the connection is seen. Who half-closes is read to its end, and
 * so for as long as its receivers may hold that up. */
#define ORDER_SEEN(order) ((order) == ORDER_HALF_CLOSE ? STALL_LONG + 3000 : 3000)
/* … and from the order: a worker may be in a call that waits for 5 s. */
#define ORDER_OBEYED      5000

struct worker {
	struct worker_plan plan;

	/* The driver's. */
	_Atomic(pid_t) pid;
	_Atomic(uint32_t) life_number;
	_Atomic(uint64_t) excused_ms; /* an end of its connection until then is explained */
	_Atomic(uint64_t) slow_ms;    /* one as slow-consumer, until then; the worker writes, too */
	_Atomic(uint32_t) order;      /* enum order; the worker takes it */
	_Atomic(uint64_t) stopped_ms; /* is stopped until then, or was */

	/* The worker's. */
	_Atomic(uint64_t) turns; /* grows while it lives */
	_Atomic(bool) connected, quiet, done;
	_Atomic(uint64_t) endpoint;
	_Atomic(uint64_t) session; /* counts: connections on which all is subscribed */
	_Atomic(uint64_t)
		policy; /* missing on this connection, for the proxy's `dropped` to explain */
	_Atomic(uint64_t) member;   /* endpoint on which it is subscribed as a member; 0: none */
	uint32_t member_of;         /* which of its proxies it asked to be one, by ledger.ends */
	_Atomic(uint32_t) changes;  /* of its membership, ever; the driver's, too: members.h */
	_Atomic(uint32_t) troubles; /* ever: it entered or left a queue group, lost its connection,
				       was told of a lost message, was killed (by the driver) */
	_Atomic(uint64_t) trouble_ms[TROUBLES_MAX]; /* when */
	_Atomic(uint64_t) reconnects;
	_Atomic(uint64_t) ending[ENDING_COUNT];
	_Atomic(uint64_t) tally[TALLY_COUNT];
	char doing[24];
	_Atomic(uint32_t) endpoints; /* ever */
	struct endpoint endpoint_of[ENDPOINTS_MAX];
	struct life life[2];
	struct stream stream[WORKERS_MAX][CHANNELS_MAX][2]; /* by sender, channel, parity of life */
};

/* ---- queue groups ---------------------------------------------------------------------------- */

/* When a member was not there, in numbers of the ring; NOT_YET: not known (members.h). */
struct absence {
	_Atomic(uint32_t) life; /* of the sender */
	_Atomic(uint64_t) from; /* newest that it has got */
	_Atomic(uint64_t) gone; /* given out when the proxy could give it nothing more */
	_Atomic(uint64_t) asks; /* SYNCED when it asked to be a member again … */
	_Atomic(uint64_t) to;   /* … and given out when it was one */
};

struct absences {
	_Atomic(uint32_t) count; /* ever; the newest ABSENCES_MAX are kept */
	struct absence absence[ABSENCES_MAX];
};

/* Each message once over all members: a member writes the lap of a number into its place. */
struct ring {
	uint32_t sender, channel, group_id;       /* plan */
	struct absences absences[WORKERS_MAX][2]; /* by parity of the sender's life, as is … */
	_Atomic(uint8_t) lap[2][RING_SIZE];       /* … this */
};

static inline uint8_t ring_lap(uint64_t number)
{
	return (uint8_t)(number / RING_SIZE % 255 + 1);
}

/* ---- all of it ------------------------------------------------------------------------------- */

enum phase {
	PHASE_RUN,
	PHASE_QUIET, /* nobody sends; senders SYNC, receivers go on */
	PHASE_END,
};

/* What is worth a line of the report; text is written last. */
struct note {
	_Atomic(bool) written;
	uint64_t ms;
	char text[248];
};

/* Failures that say the same of different messages. */
struct failure_kind {
	_Atomic(uint64_t) name; /* 0 = free */
	_Atomic(uint32_t) count;
};

struct ledger {
	_Atomic(int) phase;
	_Atomic(uint32_t) failures;
	_Atomic(uint32_t) corrupt, reordered, duplicated, unaccounted, other;
	uint64_t seed, start_ms;
	uint32_t workers, rings, groups;
	uint32_t slower; /* than the machines that bounds of time are meant for: so many times */
	char server[PROXIES][64], local[PROXIES][128], secure[PROXIES][64];
	char ca[512];                       /* a file, of those who sign for the last ones */
	_Atomic(uint64_t) down_ms[PROXIES]; /* last time a proxy was stopped … */
	_Atomic(uint64_t) up_ms[PROXIES];   /* … and answered again */
	_Atomic(uint32_t) ends[PROXIES];    /* of its processes, ever */
	_Atomic(uint32_t) notes;            /* ever */
	_Atomic(uint32_t) claims;           /* ever */
	struct failure_kind kind[KINDS_MAX];
	struct note note[NOTES_MAX];
	struct claim claim[CLAIMS_MAX];
	struct worker worker[WORKERS_MAX];
	struct ring ring[RINGS_MAX];
};

enum verdict { CORRUPT, REORDERED, DUPLICATED, UNACCOUNTED, OTHER };

/* Makes one; *ret_fd can be given to another program, which attaches it. */
struct ledger *ledger_make(int *ret_fd);
struct ledger *ledger_attach(int fd);
uint64_t ledger_ms(const struct ledger *ledger); /* since the start */
/* A bound of time, on this machine. */
static inline uint64_t ledger_bound(const struct ledger *ledger, uint64_t ms)
{
	return ms * ledger->slower;
}
/* A line for the log of the run. Any process, any time. */
void ledger_note(struct ledger *ledger, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The run has failed. A line tells, unless KIND_TOLD have told the same. */
void ledger_fail(struct ledger *ledger, enum verdict verdict, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static inline void trouble_add(struct worker *worker, uint64_t now_ms)
{
	uint32_t place = atomic_fetch_add(&worker->troubles, 1) % TROUBLES_MAX;

	atomic_store(&worker->trouble_ms[place], now_ms);
}

/* Whether there was trouble in [from, to]; of the last TROUBLES_MAX. */
static inline bool trouble_in(const struct worker *worker, uint64_t from_ms, uint64_t to_ms)
{
	uint32_t troubles = atomic_load(&worker->troubles);

	for (uint32_t i = 0; i < TROUBLES_MAX && i < troubles; i++) {
		uint64_t ms = atomic_load(&worker->trouble_ms[i]);

		if (ms >= from_ms && ms <= to_ms)
			return true;
	}
	return false;
}

static inline void tally_add(struct worker *worker, enum tally tally, uint64_t n)
{
	atomic_fetch_add_explicit(&worker->tally[tally], n, memory_order_relaxed);
}

/* The two newest lives by parity. */
static inline struct life *life_of(struct worker *worker, uint32_t number)
{
	return &worker->life[number & 1];
}

/* ---- randomness: everything follows from the seed -------------------------------------------- */

struct dice {
	uint64_t state;
};

struct dice dice_of(uint64_t seed, uint64_t who);
uint64_t dice_roll(struct dice *dice);
uint64_t dice_below(struct dice *dice, uint64_t below);
static inline bool dice_chance(struct dice *dice, uint64_t of, uint64_t in)
{
	return dice_below(dice, in) < of;
}

#endif
