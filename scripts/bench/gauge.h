/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is read from outside of a proxy: CPU time, memory, and the cost of its verdict.
 */
#ifndef BENCH_GAUGE_H
#define BENCH_GAUGE_H

#include <stdint.h>

uint64_t cpu_ns(int pid); /* that a process has used, all threads */
/* Resident memory of a process, and memory of its BPF maps as the kernel tells it. Bytes. */
uint64_t memory_of(int pid);

/* client_verdict of an instance. While it is open the kernel takes the time of every BPF program
 * of the machine, which itself costs some tens of ns of each run. */
struct verdict {
	int program; /* -1: the instance has none, or it may not be read */
	int stats;
};
struct verdict_mark {
	uint64_t ns, runs;
};
void verdict_open(struct verdict *verdict, const char *instance);
void verdict_close(struct verdict *verdict);
struct verdict_mark verdict_mark(const struct verdict *verdict);
/* ns a run since then; 0: none. */
double verdict_ns(const struct verdict *verdict, struct verdict_mark since);

double median(double *values, unsigned count); /* sorts them */

#endif
