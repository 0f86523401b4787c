/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a running proxy says of itself: the JSON of `xylem status`. Every function fails the running
 * cmocka test when it cannot do what it says. One thread.
 */
#ifndef TEST_STATUS_H
#define TEST_STATUS_H

#include <jansson.h>

#include "common/proxy.h"
#include "common/raw.h"

json_t *status_take(const struct proxy *proxy); /* the caller's reference */
/* The same, with what all loops own: one that the machine does not run for a while counts as stuck,
 * and is passed by. For questions whose answer may be that something is not there. */
json_t *status_take_whole(const struct proxy *proxy);
bool status_is_whole(json_t *status);
/* With this client's connection. */
json_t *status_take_with(const struct proxy *proxy, const struct raw *raw);
uint64_t status_counter(const struct proxy *proxy, const char *name);
/* The entry of "loops" with this name, of "connections" with this client's endpoint; NULL = none.
 * Borrowed. */
json_t *status_loop(json_t *status, const char *name);
json_t *status_connection(json_t *status, const struct raw *raw);
/* Whether the router lists a flow of this client's. */
bool status_has_flow(const struct proxy *proxy, const struct raw *sender);
/* 0 where there is none. */
uint64_t status_number(const json_t *object, const char *name);
/* Of "memory". */
uint64_t status_memory(const struct proxy *proxy, const char *name);
/* What a lane's verdict counted for this reason. */
uint64_t status_reason(const struct proxy *proxy, const struct raw *raw, const char *reason);

#endif
