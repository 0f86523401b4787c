/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/text.h"

/* Work that is over sooner needs no progress. */
#define PROGRESS_AFTER_NS (500 * XY_NS_PER_MS)
#define PROGRESS_EVERY_NS (200 * XY_NS_PER_MS)
/* The clock is asked once for so many bytes or messages. */
#define PROGRESS_STEP     64
#define PROGRESS_BULK     65536

void xy_progress_start(struct xy_progress *progress, bool quiet)
{
	uint64_t now = xy_clock_ns();

	*progress = (struct xy_progress){
		.enabled = !quiet && isatty(STDERR_FILENO),
		.started_ns = now,
		.next_ns = now + PROGRESS_AFTER_NS,
	};
}

static void progress_show(const struct xy_progress *progress, uint64_t now)
{
	double seconds = (double)(now - progress->started_ns) / XY_NS_PER_S;

	fprintf(stderr, "\r%s messages, %s in %s: %s/s, %s/s\033[K", XY_COUNT(progress->messages),
		XY_SIZE(progress->bytes), XY_TIME(now - progress->started_ns),
		XY_COUNT((uint64_t)((double)progress->messages / seconds)),
		XY_SIZE((uint64_t)((double)progress->bytes / seconds)));
}

void xy_progress_add(struct xy_progress *progress, uint64_t bytes)
{
	uint64_t now;

	progress->messages++;
	progress->bytes += bytes;
	if (!progress->enabled)
		return;
	if (++progress->skipped < PROGRESS_STEP && bytes < PROGRESS_BULK)
		return;
	progress->skipped = 0;
	now = xy_clock_ns();
	if (now < progress->next_ns)
		return;
	progress->next_ns = now + PROGRESS_EVERY_NS;
	progress->shown = true;
	progress_show(progress, now);
}

void xy_progress_end(struct xy_progress *progress)
{
	if (!progress->shown)
		return;
	progress_show(progress, xy_clock_ns());
	fputc('\n', stderr);
	progress->shown = false;
}
