/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far long work has come: one line on standard error, when that is a terminal.
 */
#ifndef XY_CMD_PROGRESS_H
#define XY_CMD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct xy_progress {
	bool enabled, shown;
	uint64_t started_ns, next_ns;
	uint64_t messages, bytes; /* so far */
	uint32_t skipped;
};

/* `quiet`: standard output shares the terminal, so stay silent. */
void xy_progress_start(struct xy_progress *progress, bool quiet);
void xy_progress_add(struct xy_progress *progress, uint64_t bytes); /* one message more */
void xy_progress_end(struct xy_progress *progress); /* leaves totals if anything was shown */

#endif
