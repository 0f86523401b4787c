/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/server.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/runtime.h"
#include "core/acceptor.h"
#include "core/core.h"
#include "core/router.h"
#include "core/watchdog.h"
#include "core/worker.h"
#include "io/depot.h"
#include "io/loop.h"

#define CONNECTIONS_MAX   16384
#define DESCRIPTORS_OWN   64 /* listeners, maps, loops, logs */
#define TOPICS_MAX        (256u << 10)
#define SUBSCRIPTIONS_MAX (1u << 20)
#define DRAIN_POLL_MS     10
#define STUCK_AFTER_MS    100

struct xy_server {
	struct xy_core core;
	struct xy_acceptor *acceptor;
	struct xy_loop *loop; /* main's: signals, heartbeat, watchdog */
	struct xy_watchdog *watchdog;
	struct xy_watch signals;
	struct xy_timer drain;
	uint64_t drain_end_ms;
	bool started;
	struct xy_reload *reload;
	sigset_t handled; /* SIGTERM, SIGINT, perhaps SIGHUP: blocked for good, read by the main
			     loop */
	char instance[XY_INSTANCE_MAX + 1];
	char directory[128]; /* where the lock is */
	char lock_path[256];
	int lock; /* -1 = not ours */
};

/* ---- names and limits ------------------------------------------------------------------------ */

static unsigned long network_namespace(void)
{
	struct stat status;

	return stat("/proc/self/ns/net", &status) ? 0 : (unsigned long)status.st_ino;
}

static void instance_default(struct xy_server *server)
{
	uint16_t port = xy_acceptor_port(server->acceptor);

	if (port)
		snprintf(server->instance, sizeof(server->instance), "%u-%lu", port,
			 network_namespace());
	else
		snprintf(server->instance, sizeof(server->instance), "unix-%d", (int)getpid());
}

/* Its file goes with its owner, so that what was locked may be a file that nobody else can find any
 * more: then once more. */
static int lock_take(struct xy_server *server)
{
	struct stat locked, named;
	int error, fd;

	for (;;) {
		fd = open(server->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) || fstat(fd, &locked)) {
			error = -errno;
			close(fd);
			return error;
		}
		if (stat(server->lock_path, &named) == 0 && named.st_ino == locked.st_ino)
			break;
		close(fd);
	}
	server->lock = fd;
	return 0;
}

/* Before there are listeners: a UNIX socket may be meant to lie in it. */
static int directory_make(struct xy_server *server)
{
	int error = xy_runtime_directory(server->directory, sizeof(server->directory));

	if (error)
		xy_log(XY_LOG_ERROR, "start-failed",
		       "why=\"no runtime directory\" path=%s error=%s", server->directory,
		       xy_log_quoted(strerror(-error)));
	return error;
}

/* The lock says which instances live: their pins and sockets are theirs. */
static enum xy_exit instance_take(struct xy_server *server, const char *wanted)
{
	int error;

	if (!wanted) {
		instance_default(server);
	} else if (xy_instance_check(wanted)) {
		xy_log(XY_LOG_ERROR, "start-failed",
		       "option=--instance value=%s why=\"1 to 64 letters, digits, - _ .\"",
		       xy_log_quoted(wanted));
		return XY_EXIT_USAGE;
	} else {
		snprintf(server->instance, sizeof(server->instance), "%s", wanted);
	}
	snprintf(server->lock_path, sizeof(server->lock_path), "%s/%s.lock", server->directory,
		 server->instance);
	error = lock_take(server);
	if (error) {
		xy_log(XY_LOG_ERROR, "start-failed",
		       "option=--instance value=%s why=%s remedy=\"choose another name, or stop "
		       "the proxy that has it\"",
		       server->instance,
		       xy_log_quoted(error == -EWOULDBLOCK ? "a live proxy has this name"
							   : strerror(-error)));
		return XY_EXIT_USAGE;
	}
	server->core.instance = server->instance;
	return XY_EXIT_OK;
}

/* Those that this process may use: two loops on one core would wake each other for every message
 * between their connections. */
static unsigned cores(void)
{
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
		return (unsigned)CPU_COUNT(&allowed);
	return (unsigned)xy_max(sysconf(_SC_NPROCESSORS_ONLN), 1L);
}

static unsigned loops_wanted(const struct xy_server_options *options)
{
	return xy_min(options->loops ? options->loops : cores(), (unsigned)XY_WORKERS_MAX);
}

static enum xy_exit limits_set(struct xy_core *core, const struct xy_server_options *options)
{
	struct rlimit limit = {0};
	rlim_t possible;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit))
			getrlimit(RLIMIT_NOFILE, &limit);
	}
	possible = limit.rlim_cur > DESCRIPTORS_OWN ? limit.rlim_cur - DESCRIPTORS_OWN : 0;
	core->max_connections = options->max_connections
					? options->max_connections
					: (uint32_t)xy_min((rlim_t)CONNECTIONS_MAX, possible);
	if (!core->max_connections || core->max_connections > possible) {
		xy_log(XY_LOG_ERROR, "start-failed",
		       "why=\"the descriptor limit is too low\" limit=%llu needed=%u "
		       "remedy=\"raise it (ulimit -n), or lower --max-connections\"",
		       (unsigned long long)limit.rlim_cur,
		       options->max_connections + DESCRIPTORS_OWN);
		return XY_EXIT_USAGE;
	}
	core->max_topics = TOPICS_MAX;
	core->max_subscriptions = SUBSCRIPTIONS_MAX;
	core->max_message = XY_MESSAGE_MAX_DEFAULT;
	core->heartbeat_ms = XY_HEARTBEAT_MS_DEFAULT;
	core->stuck_after_ms = options->stuck_after_ms ? options->stuck_after_ms : STUCK_AFTER_MS;
	xy_budget_plan(&core->budget,
		       options->memory_budget ? options->memory_budget : xy_budget_default(""),
		       loops_wanted(options));
	return XY_EXIT_OK;
}

/* ---- the kernel side ------------------------------------------------------------------------- */

static void kernel_tell(const struct xy_kernel *kernel)
{
	const char *untried = xy_kernel_untried(kernel);

	xy_log(XY_LOG_INFO, "kernel-path",
	       "active=yes cgroup=%s why=%s pins=%s slots=%u flows=%u %s%s",
	       xy_kernel_cgroup(kernel), xy_log_quoted(xy_kernel_cgroup_why(kernel)),
	       xy_kernel_pins(kernel) ? xy_kernel_pins(kernel) : xy_kernel_pins_why(kernel),
	       xy_kernel_slots(kernel), xy_kernel_flows(kernel),
	       *untried ? "untested=" : "tested=yes", *untried ? xy_log_quoted(untried) : "");
}

static enum xy_exit kernel_open(struct xy_server *server, const struct xy_server_options *options)
{
	struct xy_core *core = &server->core;
	struct xy_listener listener[XY_LISTENERS_MAX];
	enum xy_kernel_step step = XY_STEP_DONE;
	struct xy_kernel_options kernel = {.instance = server->instance,
					   .cgroup = options->cgroup,
					   .listener = listener,
					   .slots = options->lanes,
					   .flows = options->flows,
					   .window = core->budget.window,
					   .max_message = core->max_message,
					   .trial = true,
					   .ret_step = &step};
	const char *remedy = " remedy=\"'xylem doctor' tells more\"";
	int error;

	if (options->kernel_path == XY_KERNEL_PATH_OFF) {
		snprintf(core->kernel_why, sizeof(core->kernel_why), "--kernel-path off");
		xy_log(XY_LOG_INFO, "kernel-path", "active=no why=%s",
		       xy_log_quoted(core->kernel_why));
		return XY_EXIT_OK;
	}
	kernel.listeners = xy_acceptor_listeners(server->acceptor, listener, XY_LISTENERS_MAX);
	if (!kernel.listeners) {
		error = -ENOENT;
		remedy = "";
		snprintf(core->kernel_why, sizeof(core->kernel_why),
			 "no TCP listener without TLS: lanes need one, UNIX sockets and TLS never "
			 "have any");
	} else {
		error = xy_kernel_open(&kernel, &core->kernel, core->kernel_why,
				       sizeof(core->kernel_why));
	}
	if (!error) {
		kernel_tell(core->kernel);
		return XY_EXIT_OK;
	}
	/* A directory that was named must be right, also where no lanes would be no reason to stop.
	 */
	if (options->cgroup && step == XY_STEP_CGROUP) {
		xy_log(XY_LOG_ERROR, "start-failed", "option=--cgroup value=%s why=%s",
		       xy_log_quoted(options->cgroup), xy_log_quoted(core->kernel_why));
		return XY_EXIT_USAGE;
	}
	if (options->kernel_path == XY_KERNEL_PATH_ON) {
		xy_log(XY_LOG_ERROR, "start-failed", "option=--kernel-path value=on why=%s%s",
		       xy_log_quoted(core->kernel_why), remedy);
		return XY_EXIT_KERNEL;
	}
	xy_log(XY_LOG_WARN, "kernel-path", "active=no why=%s%s", xy_log_quoted(core->kernel_why),
	       remedy);
	return XY_EXIT_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

static bool workers_empty(const struct xy_core *core)
{
	for (unsigned w = 0; w < core->workers; w++)
		if (atomic_load(&core->worker[w]->load))
			return false;
	return true;
}

static void drain_look(struct xy_timer *timer)
{
	struct xy_server *server = xy_container_of(timer, struct xy_server, drain);

	if (workers_empty(&server->core) || xy_loop_now_ms(server->loop) >= server->drain_end_ms)
		xy_loop_stop(server->loop);
	else
		xy_timer_start(server->loop, &server->drain, DRAIN_POLL_MS);
}

static void drain_begin(struct xy_server *server)
{
	struct xy_core *core = &server->core;

	atomic_store(&core->draining, true);
	xy_service_tell(&core->service, "STOPPING=1");
	if (core->kernel) {
		xy_kernel_redirect_switch(core->kernel, false);
		xy_kernel_grace(core->kernel);
	}
	for (unsigned w = 0; w < core->workers; w++)
		xy_worker_drain(core->worker[w]);
	server->drain_end_ms = xy_loop_now_ms(server->loop) + XY_DRAIN_TIMEOUT_MS;
	xy_timer_start(server->loop, &server->drain, DRAIN_POLL_MS);
}

static void signal_ready(struct xy_watch *watch, uint32_t events)
{
	struct xy_server *server = xy_container_of(watch, struct xy_server, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) != sizeof(info))
		return;
	xy_log(XY_LOG_INFO, "signal", "signal=%s", strsignal((int)info.ssi_signo));
	if (info.ssi_signo == SIGHUP) {
		xy_reload_ask(server->reload);
		return;
	}
	if (atomic_load(&server->core.draining))
		xy_loop_stop(server->loop);
	else
		drain_begin(server);
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum xy_exit threads_new(struct xy_server *server, const struct xy_server_options *options)
{
	struct xy_core *core = &server->core;
	struct xy_loop_options loop = {.name = "main", .context = server};
	unsigned wanted = loops_wanted(options);
	int error = -ENOMEM;

	core->worker = calloc(XY_WORKERS_MAX, sizeof(struct xy_worker *));
	core->numbers = xy_numbers_new(core->max_connections);
	core->place = calloc(core->max_connections, sizeof(*core->place));
	/* Half: all loops ask, each once in an interval, and perhaps a little earlier. */
	core->depot = xy_depot_new(core->budget.pool_cached * wanted, XY_SHRINK_MS / 2);
	if (!core->worker || !core->numbers || !core->place || !core->depot)
		goto err_log;
	error = xy_loop_new(&loop, &server->loop);
	if (!error)
		error = xy_router_new(core, &core->router);
	while (!error && core->workers < wanted) {
		error = xy_worker_new(core, core->workers, &core->worker[core->workers]);
		core->workers += !error;
	}
	if (!error)
		error = xy_watchdog_new(core, server->loop, &server->watchdog);
	if (!error && options->reread) {
		server->reload = xy_reload_new(core, server->acceptor, server->loop,
					       options->reread, options->reread_context);
		error = server->reload ? 0 : -ENOMEM;
	}
	if (!error)
		return XY_EXIT_OK;
err_log:
	xy_log(XY_LOG_ERROR, "start-failed", "why=%s", xy_log_quoted(strerror(-error)));
	return XY_EXIT_FAILURE;
}

static int signals_open(struct xy_server *server)
{
	int fd = signalfd(-1, &server->handled, SFD_CLOEXEC | SFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	server->signals = (struct xy_watch){.fd = fd, .name = "signals", .ready = signal_ready};
	return xy_loop_watch(server->loop, &server->signals, EPOLLIN);
}

static void rules_free(const struct xy_server_options *options)
{
	struct xy_rules rules = options->rules;

	xy_rules_free(&rules);
}

enum xy_exit xy_server_new(const struct xy_server_options *options, struct xy_server **ret_server)
{
	struct xy_server *server = calloc(1, sizeof(*server));
	enum xy_exit status = XY_EXIT_USAGE;
	char why[256];

	if (!server) {
		xy_log(XY_LOG_ERROR, "start-failed", "why=\"out of memory\"");
		rules_free(options);
		return XY_EXIT_FAILURE;
	}
	server->core.access = options->rules.access;
	server->core.tls = options->rules.tls;
	atomic_init(&server->core.access_generation, 1);
	server->lock = -1;
	server->signals.fd = -1;
	/* Before there is anything that a signal could leave behind, and before any thread starts,
	 * so that all of them inherit it. */
	sigemptyset(&server->handled);
	sigaddset(&server->handled, SIGTERM);
	sigaddset(&server->handled, SIGINT);
	if (options->reread)
		sigaddset(&server->handled, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &server->handled, NULL);
	signal(SIGPIPE, SIG_IGN);
	xy_service_open(&server->core.service);
	server->core.started_ms = xy_clock_ms();
	server->drain = (struct xy_timer){.name = "drain", .expired = drain_look};
	xy_json_watch_memory();
	if (limits_set(&server->core, options))
		goto err_free;
	if (directory_make(server)) {
		status = XY_EXIT_FAILURE;
		goto err_free;
	}
	if (xy_acceptor_new(options->listen, options->listens, options->unix_mode,
			    &server->acceptor, why, sizeof(why))) {
		xy_log(XY_LOG_ERROR, "start-failed", "option=--listen why=%s", xy_log_quoted(why));
		goto err_free;
	}
	if (xy_acceptor_check(server->acceptor, &options->rules, why, sizeof(why))) {
		xy_log(XY_LOG_ERROR, "start-failed", "option=--listen why=%s", xy_log_quoted(why));
		goto err_free;
	}
	server->core.acceptor_loop = xy_acceptor_loop(server->acceptor);
	server->core.listens = xy_acceptor_count(server->acceptor);
	for (unsigned l = 0; l < server->core.listens; l++)
		server->core.listen[l] = xy_acceptor_address(server->acceptor, l);
	status = instance_take(server, options->instance);
	if (!status)
		status = kernel_open(server, options);
	if (!status)
		status = threads_new(server, options);
	if (!status && xy_acceptor_listen(server->acceptor, why, sizeof(why))) {
		xy_log(XY_LOG_ERROR, "start-failed", "option=--listen why=%s", xy_log_quoted(why));
		status = XY_EXIT_USAGE;
	}
	if (status)
		goto err_free;
	*ret_server = server;
	return XY_EXIT_OK;

err_free:
	xy_server_free(server);
	return status;
}

void xy_server_free(struct xy_server *server)
{
	struct xy_core *core;

	if (!server)
		return;
	core = &server->core;
	/* What is deferred still uses the numbers and the slots, and a peer is deferred twice; who
	 * defers must be registered. */
	xy_rcu_register_thread();
	xy_rcu_barrier();
	xy_rcu_barrier();
	xy_rcu_unregister_thread();
	xy_watchdog_free(server->watchdog);
	xy_reload_free(server->reload);
	for (unsigned w = 0; w < core->workers; w++)
		xy_worker_free(core->worker[w]);
	free(core->worker);
	xy_depot_free(core->depot);
	xy_router_free(core->router);
	xy_acceptor_free(server->acceptor);
	xy_kernel_close(core->kernel);
	free(core->place);
	xy_numbers_free(core->numbers);
	xy_access_free(core->access);
	xy_tls_context_put(core->tls);
	xy_loop_free(server->loop);
	if (server->signals.fd >= 0)
		close(server->signals.fd);
	xy_service_close(&core->service);
	if (server->lock >= 0) {
		unlink(server->lock_path); /* while it is still ours: see lock_take() */
		close(server->lock);
	}
	free(server);
}

void xy_server_withdraw(struct xy_server *server)
{
	if (server->core.kernel)
		xy_kernel_withdraw(server->core.kernel);
	xy_acceptor_withdraw(server->acceptor);
	unlink(server->lock_path); /* see lock_take() */
}

void xy_server_unlink(const struct xy_server *server)
{
	if (server->core.kernel)
		xy_kernel_unpin(server->core.kernel);
	xy_acceptor_unlink(server->acceptor);
	unlink(server->lock_path); /* see lock_take() */
}

struct xy_core *xy_server_core(struct xy_server *server)
{
	return &server->core;
}

struct xy_reload *xy_server_reload(struct xy_server *server)
{
	return server->reload;
}

enum xy_exit xy_server_start(struct xy_server *server)
{
	struct xy_core *core = &server->core;
	int error = xy_rcu_start();

	if (!error)
		error = signals_open(server);
	xy_budget_start(core, server->loop);
	if (!error)
		error = xy_router_start(core->router);
	for (unsigned w = 0; !error && w < core->workers; w++)
		error = xy_worker_start(core->worker[w]);
	if (!error)
		error = xy_acceptor_start(server->acceptor, core);
	if (error) {
		xy_log(XY_LOG_ERROR, "start-failed", "why=%s", xy_log_quoted(strerror(-error)));
		return XY_EXIT_FAILURE;
	}
	server->started = true;
	xy_watchdog_start(server->watchdog);
	for (unsigned l = 0; l < core->listens; l++)
		xy_log(XY_LOG_INFO, "listening", "address=%s", core->listen[l]);
	xy_log(XY_LOG_INFO, "started",
	       "instance=%s version=%s loops=%u connections=%u memory_budget=%llu", core->instance,
	       XY_VERSION, core->workers, core->max_connections,
	       (unsigned long long)core->budget.bytes);
	return XY_EXIT_OK;
}

enum xy_exit xy_server_wait(struct xy_server *server)
{
	return xy_loop_run(server->loop) ? XY_EXIT_FAILURE : XY_EXIT_OK;
}

void xy_server_stop(struct xy_server *server)
{
	struct xy_core *core = &server->core;
	struct timespec tick = {.tv_nsec = 1000000};
	bool idle;

	xy_acceptor_stop(server->acceptor);
	for (unsigned w = 0; w < core->workers; w++)
		xy_worker_shut(core->worker[w]);
	/* Requests under way come back to their workers; each is short. */
	do {
		idle = true;
		for (unsigned w = 0; w < core->workers; w++)
			idle = idle && xy_worker_idle(core->worker[w]);
		if (!idle)
			nanosleep(&tick, NULL);
	} while (!idle);
	for (unsigned w = 0; w < core->workers; w++)
		xy_worker_stop(core->worker[w]);
	xy_router_stop(core->router);
	xy_log(XY_LOG_INFO, "stopped", "instance=%s", core->instance);
}
