/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/page.h"
#include "core/router.h"
#include "core/worker.h"

#define LOOK_MS 50   /* how often one looks whether a loop that was asked is stuck */
#define WAIT_MS 1000 /* for all loops together that do not answer */

/* In their order. */
static const struct list {
	const char *opening;
	/* One of both. */
	void (*of_worker)(const struct xy_worker *worker, struct xy_page *page);
	void (*of_router)(const struct xy_router *router, struct xy_page *page);
} lists[] = {
	{.opening = ",\"connections\":[", .of_worker = xy_worker_connections},
	{.opening = ",\"slow\":[", .of_worker = xy_worker_slow},
	{.opening = ",\"subjects\":[", .of_router = xy_router_subjects},
	{.opening = ",\"subscriptions\":[", .of_router = xy_router_subscriptions},
	{.opening = ",\"flows\":[", .of_router = xy_router_flows},
};

#define LISTS (sizeof(lists) / sizeof(lists[0]))

/* Goes to a loop, is answered there, and comes back. */
struct xy_question {
	struct xy_task task;
	struct xy_statuses *statuses;
	struct xy_status *status; /* home's; NULL: nobody waits for the answer any more */
	const struct list *list;
	unsigned loop;
	bool first;      /* of this status to that loop */
	bool missed;     /* that loop is stuck, and another one took the question over */
	uint32_t cached; /* segments, of a worker */
	struct xy_page page;
};

struct xy_status {
	struct xy_statuses *statuses;
	void (*ready)(struct xy_status *status, void *context);
	void *context;
	struct xy_page page; /* text that was not fetched yet, and how far the list is */
	bool fetched, ended; /* the text was; it has its last piece */
	unsigned list,
		loop; /* what is written, and who is asked; the router is behind the workers */
	bool begun;   /* the list */
	struct xy_question
		*question; /* NULL until there is one, or it is not waited for any more */
	bool waiting;      /* for its answer */
	struct xy_timer timer;
	uint64_t waited_ms, patience_ms;
	bool passed[XY_WORKERS_MAX + 1]; /* loops that have not answered */
	uint32_t cached[XY_WORKERS_MAX];
};

const char *xy_counter_text(enum xy_counter counter)
{
	static const char *const text[] = {
#define X(name, text) [XY_COUNT_##name] = text,
		XY_COUNTERS(X)
#undef X
	};

	return text[counter];
}

static json_t *kernel_path(const struct xy_core *core)
{
	struct xy_kernel *kernel = core->kernel;

	if (!kernel)
		return json_pack("{s:b, s:s}", "active", 0, "reason", core->kernel_why);
	return json_pack("{s:b, s:s, s:s, s:s, s:s, s:s?, s:s?, s:i, s:i, s:i, s:I}", "active", 1,
			 "reason", "", "untested", xy_kernel_untried(kernel), "cgroup",
			 xy_kernel_cgroup(kernel), "cgroup_why", xy_kernel_cgroup_why(kernel),
			 "pins", xy_kernel_pins(kernel), "pins_why", xy_kernel_pins_why(kernel),
			 "slots", (int)xy_kernel_slots(kernel), "slots_free",
			 (int)xy_kernel_slots_free(kernel), "flows", (int)xy_kernel_flows(kernel),
			 "sockets_left", (json_int_t)xy_kernel_sockets_left(kernel));
}

static json_t *confinement_of(const struct xy_confinement *confinement)
{
	if (!confinement->on)
		return json_pack("{s:b, s:s?}", "active", 0, "reason", confinement->why);
	return json_pack("{s:b, s:s, s:I, s:I, s:[s*], s:b}", "active", 1, "reason",
			 confinement->why, "user", (json_int_t)confinement->user, "group",
			 (json_int_t)confinement->group, "capabilities",
			 confinement->bpf ? "CAP_BPF" : NULL, "filter", (int)confinement->filter);
}

/* What stands before the lists. */
static json_t *core_of(const struct xy_core *core)
{
	json_t *counters = json_object(), *listen = json_array();

	for (unsigned c = 0; c < XY_COUNTER_COUNT; c++)
		json_object_set_new(counters, xy_counter_text(c),
				    json_integer((json_int_t)atomic_load(&core->counter[c])));
	for (unsigned l = 0; l < core->listens; l++)
		json_array_append_new(listen, json_string(core->listen[l]));
	return json_pack("{s:s, s:s, s:i, s:I, s:b, s:o, s:o, s:o, s:o, s:I, s:I}", "instance",
			 core->instance, "version", XY_VERSION, "pid", (int)getpid(), "uptime_ms",
			 (json_int_t)(xy_clock_ms() - core->started_ms), "draining",
			 (int)atomic_load(&core->draining), "listen", listen, "kernel_path",
			 kernel_path(core), "confinement", confinement_of(&core->confinement),
			 "counters", counters, "pool_bytes", (json_int_t)xy_pool_total_bytes(),
			 "access_generation", (json_int_t)atomic_load(&core->access_generation));
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* How a loop does, as the watchdog knows it, or who has waited for it in vain. Borrowed; NULL
 * without memory. */
static json_t *loop_add(json_t *loops, const struct xy_loop *loop, const struct xy_pulse *pulse,
			bool passed)
{
	json_t *entry = json_pack("{s:s, s:I, s:b, s:i, s:I}", "name", xy_loop_name(loop), "rounds",
				  (json_int_t)xy_loop_rounds(loop), "stuck",
				  passed || atomic_load(&pulse->stuck), "stuck_count",
				  (int)atomic_load(&pulse->incidents), "stuck_longest_ms",
				  (json_int_t)atomic_load(&pulse->longest_ms));

	return json_array_append_new(loops, entry) ? NULL : entry;
}

static json_t *loops_of(const struct xy_status *status)
{
	const struct xy_core *core = status->statuses->core;
	json_t *loops = json_array();

	for (unsigned w = 0; w < core->workers; w++) {
		const struct xy_worker *worker = core->worker[w];
		json_t *entry = loop_add(loops, worker->loop, &worker->pulse, status->passed[w]);

		json_object_set_new(entry, "connections",
				    json_integer((json_int_t)atomic_load(&worker->load)));
		if (!status->passed[w])
			json_object_set_new(entry, "cached_segments",
					    json_integer(status->cached[w]));
	}
	loop_add(loops, xy_router_loop(core->router), &core->router_pulse,
		 status->passed[core->workers]);
	loop_add(loops, core->acceptor_loop, &core->acceptor_pulse, false);
	return loops;
}

static struct xy_loop *loop_at(const struct xy_core *core, unsigned loop)
{
	return loop < core->workers ? core->worker[loop]->loop : xy_router_loop(core->router);
}

static bool is_stuck(const struct xy_core *core, unsigned loop)
{
	const struct xy_pulse *pulse =
		loop < core->workers ? &core->worker[loop]->pulse : &core->router_pulse;

	return atomic_load_explicit(&pulse->stuck, memory_order_relaxed);
}

/* ---- questions ------------------------------------------------------------------------------- */

static void question_free(struct xy_question *question)
{
	if (!question)
		return;
	free(question->page.text.bytes);
	free(question);
}

static void loop_begin(struct xy_status *status, unsigned loop)
{
	status->loop = loop;
	status->page.position[0] = status->page.position[1] = 0;
}

static void answer_take(struct xy_status *status)
{
	const struct xy_question *question = status->question;
	const struct xy_page *page = &question->page;

	status->waiting = false;
	if (question->missed) {
		status->passed[status->loop] = true;
		return;
	}
	xy_text_append(&status->page.text, &page->text);
	status->page.listed = page->listed;
	memcpy(status->page.position, page->position, sizeof(page->position));
	if (question->first)
		status->cached[status->loop] = question->cached;
	if (!page->more)
		loop_begin(status, status->loop + 1);
}

/* At home again. */
static void answered(struct xy_task *task)
{
	struct xy_question *question = xy_container_of(task, struct xy_question, task);
	struct xy_statuses *statuses = question->statuses;
	struct xy_status *status = question->status;

	statuses->asked--;
	if (status) {
		xy_timer_stop(&status->timer);
		answer_take(status);
		status->ready(status, status->context);
	} else {
		statuses->late[question->loop]--;
		question_free(question);
	}
	if (!statuses->asked && statuses->quiet)
		statuses->quiet(statuses->context);
}

/* On the loop that was asked, or on one that it was moved to. */
static void answer(struct xy_task *task)
{
	struct xy_question *question = xy_container_of(task, struct xy_question, task);
	struct xy_core *core = question->statuses->core;
	struct xy_worker *worker;
	struct xy_pool_stats pool;

	if (xy_loop_here() != loop_at(core, question->loop)) {
		question->missed = true;
	} else if (question->list->of_router) {
		question->list->of_router(core->router, &question->page);
	} else {
		worker = core->worker[question->loop];
		if (question->first) { /* for "memory", and what each of them costs */
			xy_budget_look(worker);
			xy_pool_stats(worker->pool, &pool);
			question->cached = pool.cached;
		}
		question->list->of_worker(worker, &question->page);
	}
	question->task.run = answered;
	xy_loop_post(question->statuses->home, &question->task);
}

static void question_give_up(struct xy_status *status)
{
	struct xy_question *question = status->question;

	question->status = NULL;
	status->statuses->late[question->loop]++;
	status->question = NULL;
	status->passed[question->loop] = true;
	status->patience_ms -= xy_min(status->patience_ms, status->waited_ms);
	status->waiting = false;
	status->ready(status, status->context);
}

static void look(struct xy_timer *timer)
{
	struct xy_status *status = xy_container_of(timer, struct xy_status, timer);

	status->waited_ms += LOOK_MS;
	if (status->waited_ms >= status->patience_ms ||
	    is_stuck(status->statuses->core, status->loop))
		question_give_up(status);
	else
		xy_timer_start(status->statuses->home, timer, LOOK_MS);
}

/* 0: it waits for the answer. -ENOMEM. */
static int ask(struct xy_status *status)
{
	struct xy_statuses *statuses = status->statuses;
	struct xy_question *question = status->question;

	if (!question)
		question = status->question = calloc(1, sizeof(*question));
	if (!question)
		return -ENOMEM;
	question->task = (struct xy_task){.name = "status", .run = answer};
	question->statuses = statuses;
	question->status = status;
	question->list = &lists[status->list];
	question->loop = status->loop;
	question->first = status->list == 0 && status->page.position[0] == 0;
	question->missed = false;
	question->page.text.length = 0;
	question->page.looks = XY_PAGE_LOOKS;
	question->page.listed = status->page.listed;
	memcpy(question->page.position, status->page.position, sizeof(question->page.position));
	status->waiting = true;
	status->waited_ms = 0;
	statuses->asked++;
	xy_timer_start(statuses->home, &status->timer, LOOK_MS);
	/* Unbound tasks run first, and those of a worker that is stuck go to another one. */
	xy_loop_post_unbound(loop_at(statuses->core, status->loop), &question->task);
	return 0;
}

/* ---- the text -------------------------------------------------------------------------------- */

/* Stuck, or it still owes an answer to somebody. */
static bool loop_pass(struct xy_status *status)
{
	bool *passed = &status->passed[status->loop];

	*passed |= is_stuck(status->statuses->core, status->loop) ||
		   status->statuses->late[status->loop];
	return *passed;
}

/* Writes a little more of the list. False: a loop was asked for it. */
static bool list_write(struct xy_status *status)
{
	const struct list *list = &lists[status->list];
	unsigned workers = status->statuses->core->workers;
	unsigned end = list->of_worker ? workers : workers + 1;

	if (!status->begun) {
		xy_text_add(&status->page.text, list->opening);
		status->begun = true;
		status->page.listed = 0;
		loop_begin(status, list->of_worker ? 0 : workers);
	}
	while (status->loop < end && loop_pass(status))
		loop_begin(status, status->loop + 1);
	if (status->loop < end) {
		status->page.text.failed |= ask(status) != 0;
		return status->page.text.failed;
	}
	xy_text_add(&status->page.text, "]");
	status->begun = false;
	status->list++;
	return true;
}

static void head_write(struct xy_status *status)
{
	struct xy_text *text = &status->page.text;

	xy_text_json(text, core_of(status->statuses->core));
	text->length -= !text->failed; /* its brace */
}

static void tail_write(struct xy_status *status)
{
	struct xy_text *text = &status->page.text;
	size_t brace = text->length;

	xy_text_json(text, json_pack("{s:o, s:o}", "loops", loops_of(status), "memory",
				     xy_budget_describe(status->statuses->core)));
	if (!text->failed)
		text->bytes[brace] = ',';
	xy_text_add(text, "\n");
}

enum xy_status_step xy_status_next(struct xy_status *status, const char **ret_text,
				   size_t *ret_length)
{
	struct xy_text *text = &status->page.text;

	if (status->fetched)
		text->length = 0;
	status->fetched = false;
	while (!status->ended && !text->failed && text->length < XY_PAGE_BYTES) {
		if (status->list < LISTS) {
			if (!list_write(status))
				return XY_STATUS_LATER;
			continue;
		}
		tail_write(status);
		status->ended = true;
	}
	if (text->failed)
		return XY_STATUS_FAILED;
	status->fetched = true;
	*ret_text = text->bytes;
	*ret_length = text->length;
	return text->length ? XY_STATUS_PIECE : XY_STATUS_END;
}

/* ---- life ------------------------------------------------------------------------------------ */

int xy_status_new(struct xy_statuses *statuses,
		  void (*ready)(struct xy_status *status, void *context), void *context,
		  struct xy_status **ret_status)
{
	struct xy_status *status = calloc(1, sizeof(*status));

	if (!status)
		return -ENOMEM;
	status->statuses = statuses;
	status->ready = ready;
	status->context = context;
	status->timer = (struct xy_timer){.name = "status", .expired = look};
	status->patience_ms = WAIT_MS;
	head_write(status);
	if (status->page.text.failed) {
		xy_status_free(status);
		return -ENOMEM;
	}
	*ret_status = status;
	return 0;
}

void xy_status_free(struct xy_status *status)
{
	if (!status)
		return;
	question_free(status->question);
	free(status->page.text.bytes);
	free(status);
}
