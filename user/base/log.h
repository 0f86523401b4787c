/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log: one line of key=value pairs per event, on standard error.
 *
 *   xy_log(XY_LOG_WARN, "slow-consumer", "endpoint=%016lx stall_ms=%u", endpoint, stall_ms);
 *   time=2026-01-02T03:04:05.678Z level=warn event=slow-consumer endpoint=… stall_ms=2000
 *
 * Any thread. A line is written by one write(2), cut at XY_LOG_LINE_MAX bytes; control characters
 * become '?', so that no value can forge a line. More than XY_LOG_BURST lines a second from one
 * place in the source are counted instead of written, and the count is reported as
 * event=suppressed with the name of the event, by a later line of any place or by xy_log_flush().
 */
#ifndef XY_BASE_LOG_H
#define XY_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XY_LOG_LINE_MAX 1024
#define XY_LOG_BURST    10

enum xy_log_level {
	XY_LOG_ERROR,
	XY_LOG_WARN,
	XY_LOG_INFO,
	XY_LOG_DEBUG,
};

/* One place in the source; private. */
struct xy_log_site {
	const char *event;
	struct xy_log_site *next; /* list of the places that have lines to report */
	uint64_t second;          /* that `lines` counts */
	uint32_t lines;
	uint32_t suppressed;
};

extern _Atomic int xy_log_level_now; /* private */

void xy_log_set_level(enum xy_log_level level); /* default info */
const char *xy_log_level_text(enum xy_log_level level);
int xy_log_level_from_text(const char *text, enum xy_log_level *ret_level); /* -EINVAL */

static inline bool xy_log_enabled(enum xy_log_level level)
{
	return (int)level <= atomic_load_explicit(&xy_log_level_now, memory_order_relaxed);
}

/* The format is optional and must be a string literal. */
#define xy_log(level, event, ...)                                               \
	do {                                                                    \
		static struct xy_log_site xy_site_;                             \
		if (xy_log_enabled(level))                                      \
			xy_log_write(&xy_site_, level, event, " " __VA_ARGS__); \
	} while (0)

/* Use xy_log(). */
void xy_log_write(struct xy_log_site *site, enum xy_log_level level, const char *event,
		  const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Reports what was suppressed in seconds that are over; `all`: in this one too (at exit). */
void xy_log_flush(bool all);

/* For text that came from outside: "…" in double quotes, with \" and \\ escaped, cut to fit. */
#define XY_LOG_QUOTED_SIZE  160
#define xy_log_quoted(text) xy_log_quote((char[XY_LOG_QUOTED_SIZE]){0}, XY_LOG_QUOTED_SIZE, text)
const char *xy_log_quote(char *buffer, size_t size,
			 const char *text); /* returns buffer; size >= 3 */

/* Lines go to this descriptor instead of standard error. For tests. */
void xy_log_set_fd(int fd);

#endif
