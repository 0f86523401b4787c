/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/silence.h"

static const char *const level_texts[] = {
	[XY_LOG_ERROR] = "error",
	[XY_LOG_WARN] = "warn",
	[XY_LOG_INFO] = "info",
	[XY_LOG_DEBUG] = "debug",
};

_Atomic int xy_log_level_now = XY_LOG_INFO;
static _Atomic int log_fd = STDERR_FILENO;

/* Guards `pending` and all sites. Never held across the write: a stalled terminal must not stop
 * threads that have nothing to write. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct xy_log_site *pending;

void xy_log_set_level(enum xy_log_level level)
{
	atomic_store_explicit(&xy_log_level_now, (int)level, memory_order_relaxed);
}

const char *xy_log_level_text(enum xy_log_level level)
{
	return level_texts[level];
}

int xy_log_level_from_text(const char *text, enum xy_log_level *ret_level)
{
	for (size_t i = 0; i < XY_ARRAY_SIZE(level_texts); i++) {
		if (strcmp(text, level_texts[i]) == 0) {
			*ret_level = (enum xy_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void xy_log_set_fd(int fd)
{
	atomic_store_explicit(&log_fd, fd, memory_order_relaxed);
}

const char *xy_log_quote(char *buffer, size_t size, const char *text)
{
	size_t n = 0;

	buffer[n++] = '"';
	/* An escaped character, the closing quote and the zero must still fit. */
	for (; *text && n + 4 <= size; text++) {
		if (*text == '"' || *text == '\\')
			buffer[n++] = '\\';
		buffer[n++] = *text;
	}
	buffer[n++] = '"';
	buffer[n] = '\0';
	return buffer;
}

__attribute__((format(printf, 4, 0))) static void line_write(uint64_t now_ns,
							     enum xy_log_level level,
							     const char *event, const char *format,
							     va_list arguments)
{
	char line[XY_LOG_LINE_MAX];
	time_t seconds = (time_t)(now_ns / XY_NS_PER_S);
	struct tm tm;
	size_t length;
	ssize_t n;

	gmtime_r(&seconds, &tm);
	length = strftime(line, sizeof(line), "time=%Y-%m-%dT%H:%M:%S", &tm);
	length += (size_t)snprintf(line + length, sizeof(line) - length, ".%03uZ level=%s event=%s",
				   (unsigned int)(now_ns % XY_NS_PER_S / XY_NS_PER_MS),
				   level_texts[level], event);
	length = xy_min(length, sizeof(line) - 1);
	n = vsnprintf(line + length, sizeof(line) - length, format, arguments);
	length += xy_min((size_t)xy_max(n, 0), sizeof(line) - 1 - length);
	while (length > 0 && line[length - 1] == ' ')
		length--;
	xy_silence(line, length);
	line[length++] = '\n';
	n = write(atomic_load_explicit(&log_fd, memory_order_relaxed), line, length);
	/* Nowhere is left to report it. */
	(void)n;
}

__attribute__((format(printf, 4, 5))) static void
line_print(uint64_t now_ns, enum xy_log_level level, const char *event, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	line_write(now_ns, level, event, format, arguments);
	va_end(arguments);
}

/* Takes a site with suppressed lines, of another second than this one unless `all`. The time is
 * read under the lock, here and below: a thread that waited for it would bring back a second that
 * is over for the others. */
static bool pending_take(bool all, uint64_t *ret_now_ns, const char **ret_event,
			 uint32_t *ret_lines)
{
	struct xy_log_site **link, *site;

	pthread_mutex_lock(&lock);
	*ret_now_ns = xy_clock_realtime_ns();
	for (link = &pending; (site = *link); link = &site->next) {
		if (all || site->second != *ret_now_ns / XY_NS_PER_S)
			break;
	}
	if (site) {
		*link = site->next;
		*ret_event = site->event;
		*ret_lines = site->suppressed;
		site->suppressed = 0;
	}
	pthread_mutex_unlock(&lock);
	return site != NULL;
}

void xy_log_flush(bool all)
{
	const char *event;
	uint64_t now_ns;
	uint32_t lines;

	while (pending_take(all, &now_ns, &event, &lines))
		line_print(now_ns, XY_LOG_WARN, "suppressed", " of=%s lines=%u", event, lines);
}

static bool site_admit(struct xy_log_site *site, const char *event, uint64_t *ret_now_ns)
{
	uint64_t second;
	bool admitted;

	pthread_mutex_lock(&lock);
	*ret_now_ns = xy_clock_realtime_ns();
	second = *ret_now_ns / XY_NS_PER_S;
	if (site->second != second) {
		site->second = second;
		site->lines = 0;
	}
	admitted = site->lines < XY_LOG_BURST;
	if (admitted) {
		site->lines++;
	} else if (site->suppressed++ == 0) {
		site->event = event;
		site->next = pending;
		pending = site;
	}
	pthread_mutex_unlock(&lock);
	return admitted;
}

void xy_log_write(struct xy_log_site *site, enum xy_log_level level, const char *event,
		  const char *format, ...)
{
	int saved = errno;
	uint64_t now_ns;
	va_list arguments;

	xy_log_flush(false);
	if (site_admit(site, event, &now_ns)) {
		va_start(arguments, format);
		line_write(now_ns, level, event, format, arguments);
		va_end(arguments);
	}
	errno = saved;
}
