/* SPDX-License-Identifier: BSD-2-Clause */
/* A publisher and a subscriber on lanes, with a flow of TOPIC from one to the other. */
#ifndef XY_TESTS_LANES_FIXTURE_H
#define XY_TESTS_LANES_FIXTURE_H

#include <stddef.h>

#include "common/kernel_env.h"

#define TOPIC 0x7000000000000001

static struct env *env;
static struct client publisher, subscriber;

static inline void lanes_open(const struct env_options *options)
{
	env = env_open(options);
	client_open(env, &publisher);
	client_open(env, &subscriber);
	flow_to(env, &publisher, TOPIC, &subscriber);
}

static inline void lanes_close(void)
{
	client_close(env, &publisher);
	client_close(env, &subscriber);
	env_close(env);
}

#endif
