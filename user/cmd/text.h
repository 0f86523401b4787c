/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers for people. Each fills a small buffer and returns its text.
 */
#ifndef XY_CMD_TEXT_H
#define XY_CMD_TEXT_H

#include <stdint.h>

struct xy_text {
	char at[32];
};

const char *xy_text_count(struct xy_text *text, uint64_t count); /* 1,234,567 */
const char *xy_text_size(struct xy_text *text, uint64_t bytes);  /* 51.2 MiB */
const char *xy_text_time(struct xy_text *text, uint64_t ns);     /* 12.3 µs, 4.56 s */
const char *xy_text_share(struct xy_text *text, uint64_t part, uint64_t whole); /* 99.1 %, - */

/* In an argument list: XY_COUNT(n) and the like, each with a buffer of its own. */
#define XY_COUNT(count)       xy_text_count(&(struct xy_text){{0}}, count)
#define XY_SIZE(bytes)        xy_text_size(&(struct xy_text){{0}}, bytes)
#define XY_TIME(ns)           xy_text_time(&(struct xy_text){{0}}, ns)
#define XY_SHARE(part, whole) xy_text_share(&(struct xy_text){{0}}, part, whole)

#endif
