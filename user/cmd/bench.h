/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of `xylem bench` share.
 *
 *   bench.c           options, and one run after the other
 *   bench_plan.c      what was typed, to runs
 *   bench_conduct.c   one run: starts the workers, measures, waits for the end, collects
 *   bench_worker.c    a worker's life: connects, waits for the start, works, leaves
 *   bench_publish.c   what publishers and subscribers do
 *   bench_request.c   what requesters and repliers do
 *   bench_transport.h what carries the messages; bench_client.c: libxylem
 *   bench_stamp.c     what is in a message, and whether it is what came out
 *   bench_proxy.c     CPU time and context switches of the proxy
 *   bench_report.c    results as text, JSON and CSV
 *
 * Workers are processes, one client each, because clients are: threads of one process would switch
 * between each other without a change of address space, and pay for a shared table of descriptors;
 * both would be measured and neither is what clients do. They share a mapping with the conductor,
 * where each writes to a record of its own and the conductor alone to the rest.
 *
 * Who begins a message (publishers, requesters) is a producer, the other side a consumer.
 */
#ifndef XY_CMD_BENCH_H
#define XY_CMD_BENCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cmd/admin.h"
#include "cmd/bench_transport.h"
#include "cmd/connect.h"
#include "cmd/histogram.h"

#define XY_BENCH_SIZES_MAX     32
#define XY_BENCH_SIZE_MAX      (1u << 20)
#define XY_BENCH_CPUS_MAX      1024
#define XY_BENCH_PRODUCERS_MAX 64
#define XY_BENCH_CONSUMERS_MAX 512
#define XY_BENCH_SUBJECT_SIZE  64
#define XY_BENCH_STAMP_SIZE    16

struct xy_bench {
	const struct xy_bench_transport *transport;

	/* By options. */
	struct xy_connect connect;
	struct xy_admin_where where; /* its path: by xy_bench_plan(), "" when none was named */
	const char *sizes_text, *cpus_text, *send;
	uint64_t producers, consumers, duration_ms, warmup_ms, count, repeat, proxy_pid;
	bool pairs, whole, json, csv;
	bool duration_given, warmup_given;
	double rate; /* of all producers, messages a second; 0 = as fast as it goes */

	/* By xy_bench_plan(). */
	bool each; /* one message per send */
	uint32_t size[XY_BENCH_SIZES_MAX];
	unsigned sizes;
	uint16_t cpu[XY_BENCH_CPUS_MAX];
	unsigned cpus; /* 0: nobody is pinned */
	bool request, publish;
};

/* ---- what workers and conductor share -------------------------------------------------------- */

enum xy_bench_phase {
	XY_BENCH_SETUP,
	XY_BENCH_RUN,
	XY_BENCH_END, /* nothing new is begun */
	XY_BENCH_BYE, /* everybody leaves */
};

enum xy_bench_state {
	XY_BENCH_STARTING,
	XY_BENCH_READY,
	XY_BENCH_FINAL, /* a producer has sent, and `begun` says how much */
};

struct xy_bench_worker {
	/* Set before the worker starts. */
	bool producer;
	unsigned index;        /* among its side */
	pid_t pid;             /* the conductor's; 0 = gone */
	_Atomic uint64_t done; /* messages received in order; of a requester, replies */
	_Atomic uint64_t begun;
	_Atomic int state;
	uint64_t endpoint;
	bool lane;
	uint64_t finished_ns; /* the last of a counted run was there */
	/* What must be zero. */
	uint64_t corrupt, repeated, foreign;
	uint64_t unsent;             /* planned, and not sent when the time was over */
	struct xy_histogram latency; /* ns, by the planned time if there is one */
	struct xy_histogram late;    /* ns between planned time and send */
} __attribute__((aligned(64)));

struct xy_bench_run {
	/* Constant while workers live. */
	const struct xy_bench *bench;
	bool request;
	uint32_t size;
	unsigned repetition;
	unsigned producers, consumers;
	char subject[XY_BENCH_SUBJECT_SIZE];
	/* Set before the phase is RUN. What is planned or begun in [from, until) is measured. */
	uint64_t start_ns, from_ns, until_ns;
	_Atomic int phase __attribute__((aligned(64)));
	/* Producers first. */
	struct xy_bench_worker worker[] __attribute__((aligned(64)));
};

static inline enum xy_bench_phase xy_bench_phase(const struct xy_bench_run *run)
{
	return (enum xy_bench_phase)atomic_load_explicit(&run->phase, memory_order_acquire);
}

static inline struct xy_bench_worker *xy_bench_consumer(struct xy_bench_run *run, unsigned index)
{
	return &run->worker[run->producers + index];
}

/* How many consumers get a message; with --pairs, and of requests, one. */
static inline unsigned xy_bench_fan_out(const struct xy_bench_run *run)
{
	return run->request || run->bench->pairs ? 1 : run->consumers;
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* The whole command, by this transport; argv[0] is its name. A status. */
int xy_bench_main(const struct xy_command *command, const struct xy_bench_transport *transport,
		  int argc, char **argv);

/* A status; says what is wrong. */
int xy_bench_plan(struct xy_bench *bench, const struct xy_command *command, char **works);

/* What is read from the proxy's process. */
struct xy_bench_usage {
	uint64_t cpu_ns, switches;
};
/* The process of the proxy that these workers are connected to, by --proxy-pid or the admin socket;
 * 0: not known. A status: what was asked for by name and is not there is an error. */
int xy_bench_proxy_find(const struct xy_bench *bench, const struct xy_command *command,
			const struct xy_bench_run *run, pid_t *ret_pid);
int xy_bench_proxy_usage(pid_t pid, struct xy_bench_usage *ret_usage); /* 0 or -errno */

struct xy_bench_result {
	bool request;
	uint32_t size;
	unsigned repetition, workers, lanes;
	uint64_t begun, done; /* in all; begun as often as it should arrive */
	uint64_t measured;    /* of done, in the time measured */
	uint64_t elapsed_ns;  /* that time */
	uint64_t missing;     /* begun and not done: lost, or a request without its reply */
	uint64_t corrupt, repeated, foreign;
	uint64_t unsent; /* planned, and not sent when the time was over */
	pid_t proxy;     /* 0: not known, and used is nothing */
	struct xy_bench_usage used;
	bool interrupted;
	struct xy_histogram latency, late;
};

/* Whether every message was what it should be. */
static inline bool xy_bench_good(const struct xy_bench_result *result)
{
	return !(result->missing | result->corrupt | result->repeated | result->foreign);
}

/* One run. A status; *ret_result is filled unless it could not begin (*ret_begun). */
int xy_bench_conduct(const struct xy_bench *bench, const struct xy_command *command, bool request,
		     uint32_t size, unsigned repetition, struct xy_bench_result *ret_result,
		     bool *ret_begun);

/* In the worker's process: its whole life. `gate` is readable (at its end) from the start on. A
 * status. */
int xy_bench_work(struct xy_bench_run *run, struct xy_bench_worker *self,
		  const struct xy_command *command, int gate);

/* A worker at work. */
struct xy_bench_job {
	struct xy_bench_run *run;
	struct xy_bench_worker *self;
	const struct xy_command *command;
	const struct xy_bench_transport *transport;
	void *link;       /* the transport's */
	uint8_t *message; /* run->size bytes */
};
/* When the index-th message of a producer is due; the start, without a rate. */
uint64_t xy_bench_due_ns(const struct xy_bench_run *run, unsigned producer, uint64_t index);
/* Works on the connection until then, or until the phase is not RUN. A status. */
int xy_bench_wait(struct xy_bench_job *job, uint64_t due_ns);
/* Whether there is a message with this index to be begun. */
bool xy_bench_goes_on(const struct xy_bench_job *job, uint64_t index);
/* When the work is over: messages that a rate had planned and that never went count, as late as
 * they are by now. */
void xy_bench_count_unsent(struct xy_bench_job *job, uint64_t next);
/* Records a latency if its beginning was in the time that is measured. */
void xy_bench_record(struct xy_bench_job *job, uint64_t begin_ns, uint64_t end_ns);

int xy_bench_publisher(struct xy_bench_job *job); /* each a status */
int xy_bench_subscriber(struct xy_bench_job *job);
int xy_bench_requester(struct xy_bench_job *job);
int xy_bench_replier(struct xy_bench_job *job);

/* A message: a stamp in front, as much of it as fits, and from 32 bytes on another one at the end;
 * between them bytes that follow from their place. A stamp is the index and a checksum over index,
 * producer and size. */
void xy_bench_fill(uint8_t *message, uint32_t size);
void xy_bench_stamp(uint8_t *message, uint32_t size, unsigned producer, uint64_t index);
/* Whether these bytes are that message; `pattern` (NULL = do not compare) is what fill made. */
bool xy_bench_intact(const void *data, size_t length, uint32_t size, unsigned producer,
		     uint64_t index, const uint8_t *pattern);

/* Whose it is, by its stamp, and which; tried from *producer on. False: nobody's. */
bool xy_bench_stamped(const void *data, size_t length, uint32_t size, unsigned producers,
		      unsigned *producer, uint64_t *ret_index);

/* After each run; the text is a table, printed by end. */
struct xy_table;
void xy_bench_report_begin(const struct xy_bench *bench, struct xy_table *table);
void xy_bench_report(const struct xy_bench *bench, struct xy_table *table,
		     const struct xy_bench_result *result);
int xy_bench_report_end(const struct xy_bench *bench, struct xy_table *table); /* a status */

#endif
