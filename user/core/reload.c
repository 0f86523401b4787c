/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/reload.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/router.h"

struct xy_reload {
	struct xy_core *core;
	const struct xy_acceptor *acceptor;
	struct xy_loop *home;
	xy_reload_fn read;
	void *context;
	void (*done)(void *context);
	void *done_context;

	_Atomic(uint64_t) asked; /* tickets */
	_Atomic(bool) posted;    /* the task is on its way to main */
	struct xy_task task;

	/* Main's. */
	bool running;
	uint64_t ticket; /* of the last one that is served by what runs */
	struct xy_revoking revoking;

	pthread_mutex_t lock;
	struct xy_reload_result result;
};

void xy_rules_free(struct xy_rules *rules)
{
	xy_access_free(rules->access);
	xy_tls_context_put(rules->tls);
	*rules = (struct xy_rules){0};
}

static void start(struct xy_reload *reload);

static void finish(struct xy_reload *reload, const struct xy_reload_result *result)
{
	pthread_mutex_lock(&reload->lock);
	reload->result = *result;
	pthread_mutex_unlock(&reload->lock);
	xy_count(reload->core, result->failed ? XY_COUNT_RELOADS_FAILED : XY_COUNT_RELOADS, 1);
	reload->running = false;
	if (reload->done)
		reload->done(reload->done_context);
	if (atomic_load(&reload->asked) > reload->ticket)
		start(reload);
}

static void revoked(struct xy_revoking *revoking)
{
	struct xy_reload *reload = xy_container_of(revoking, struct xy_reload, revoking);
	const struct xy_access *access = reload->core->access;
	const struct xy_reload_result result = {.ticket = reload->ticket,
						.generation = revoking->generation,
						.flows = revoking->flows,
						.subscriptions = revoking->subscriptions,
						.connections = revoking->connections};

	xy_rules_free(&revoking->rules);
	xy_log(XY_LOG_INFO, "reloaded",
	       "generation=%llu identities=%u tokens=%u users=%u revoked_flows=%llu "
	       "revoked_subscriptions=%llu revoked_connections=%llu",
	       (unsigned long long)result.generation, xy_access_identities(access),
	       xy_access_tokens(access), xy_access_users(access), (unsigned long long)result.flows,
	       (unsigned long long)result.subscriptions, (unsigned long long)result.connections);
	finish(reload, &result);
}

/* The old rules stay. */
static void failed(struct xy_reload *reload, const char *why)
{
	struct xy_reload_result result = {.ticket = reload->ticket, .failed = true};
	char quoted[XY_RELOAD_WHY_SIZE];

	result.generation = atomic_load(&reload->core->access_generation);
	snprintf(result.why, sizeof(result.why), "%s", why);
	xy_log(XY_LOG_ERROR, "reload-failed", "generation=%llu why=%s",
	       (unsigned long long)result.generation, xy_log_quote(quoted, sizeof(quoted), why));
	finish(reload, &result);
}

static void start(struct xy_reload *reload)
{
	struct xy_rules rules;
	char why[XY_RELOAD_WHY_SIZE] = "";
	int error;

	reload->running = true;
	/* Before anything is read: who asks later may mean what is written later. */
	reload->ticket = atomic_load(&reload->asked);
	error = reload->read(reload->context, &rules, why, sizeof(why));
	if (!error) {
		error = xy_acceptor_check(reload->acceptor, &rules, why, sizeof(why));
		if (error)
			xy_rules_free(&rules);
	}
	if (error) {
		failed(reload, why);
		return;
	}
	reload->revoking =
		(struct xy_revoking){.rules = rules, .home = reload->home, .done = revoked};
	xy_router_revoke(reload->core->router, &reload->revoking);
}

static void ask_run(struct xy_task *task)
{
	struct xy_reload *reload = xy_container_of(task, struct xy_reload, task);

	atomic_store(&reload->posted, false);
	if (!reload->running)
		start(reload);
}

uint64_t xy_reload_ask(struct xy_reload *reload)
{
	uint64_t ticket = atomic_fetch_add(&reload->asked, 1) + 1;

	if (!atomic_exchange(&reload->posted, true)) {
		reload->task = (struct xy_task){.name = "reload", .run = ask_run};
		xy_loop_post(reload->home, &reload->task);
	}
	return ticket;
}

void xy_reload_notify(struct xy_reload *reload, void (*done)(void *context), void *context)
{
	reload->done = done;
	reload->done_context = context;
}

void xy_reload_result(struct xy_reload *reload, struct xy_reload_result *ret_result)
{
	pthread_mutex_lock(&reload->lock);
	*ret_result = reload->result;
	pthread_mutex_unlock(&reload->lock);
}

struct xy_reload *xy_reload_new(struct xy_core *core, const struct xy_acceptor *acceptor,
				struct xy_loop *home, xy_reload_fn read, void *context)
{
	struct xy_reload *reload = calloc(1, sizeof(*reload));

	if (!reload)
		return NULL;
	reload->core = core;
	reload->acceptor = acceptor;
	reload->home = home;
	reload->read = read;
	reload->context = context;
	pthread_mutex_init(&reload->lock, NULL);
	return reload;
}

void xy_reload_free(struct xy_reload *reload)
{
	if (!reload)
		return;
	/* Rules that did not come in force, or old ones that nobody asked back. */
	xy_rules_free(&reload->revoking.rules);
	pthread_mutex_destroy(&reload->lock);
	free(reload);
}
