/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem serve: options of the proxy.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/runtime.h"
#include "cmd/access.h"
#include "cmd/commands.h"
#include "cmd/sources.h"
#include "cmd/tls.h"
#include "cmd/user.h"
#include "core/acceptor.h"
#include "edge/serve.h"

struct serve {
	struct xy_texts listen;
	bool check_config;
	const char *config, *cgroup, *kernel_path, *instance, *log_level, *admin;
	const char *token_file, *anonymous, *unix_mode;
	const char *tls_cert, *tls_key, *tls_ca, *tls_min;
	const char *user, *confine;
	uint64_t loops, max_connections, stuck_after, lanes, flows, memory_budget;
};

/* The form only; the server resolves and binds. */
static bool is_address(const char *text)
{
	const char *secured = xy_acceptor_tls(text), *colon;
	unsigned long port;
	char *end;

	if (!strcmp(text, XY_LISTEN_GIVEN))
		return true;
	if (secured)
		text = secured;
	if (!strncmp(text, "unix:", 5))
		return !secured && text[5] != 0;
	colon = strrchr(text, ':');
	if (!colon || colon == text || colon[1] < '0' || colon[1] > '9')
		return false;
	/* IPv6 without brackets would take its last group for the port. */
	if (*text == '[' ? colon[-1] != ']' : memchr(text, ':', (size_t)(colon - text)) != NULL)
		return false;
	port = strtoul(colon + 1, &end, 10);
	return !*end && port <= 65535;
}

static int listen_check(const char *text, char why[XY_OPTION_WHY_SIZE])
{
	if (is_address(text))
		return 0;
	snprintf(why, XY_OPTION_WHY_SIZE,
		 "'%s' is not HOST:PORT, [V6]:PORT, tls:HOST:PORT, unix:PATH or systemd", text);
	return -EINVAL;
}

/* 0 = it is none. */
static unsigned mode_of(const char *text)
{
	size_t digits = strspn(text, "01234567");

	return digits >= 3 && digits <= 4 && !text[digits] ? (unsigned)strtoul(text, NULL, 8) & 0777
							   : 0;
}

static int mode_check(const char *text, char why[XY_OPTION_WHY_SIZE])
{
	if (mode_of(text))
		return 0;
	snprintf(why, XY_OPTION_WHY_SIZE, "'%s' is not a mode like 0660", text);
	return -EINVAL;
}

static int instance_check(const char *text, char why[XY_OPTION_WHY_SIZE])
{
	if (xy_instance_check(text) == 0)
		return 0;
	snprintf(why, XY_OPTION_WHY_SIZE, "'%s' is not 1 to 64 letters, digits, '-', '_' and '.'",
		 text);
	return -EINVAL;
}

static const struct xy_option serve_options[] = {
	{.name = "config",
	 .kind = XY_OPTION_TEXT,
	 .argument = "FILE",
	 .help = "take options that are not given otherwise from FILE (docs/CONFIGURATION.md)",
	 .offset = offsetof(struct serve, config),
	 .origin = XY_FROM_ENVIRONMENT},
	{.name = "check-config",
	 .kind = XY_OPTION_FLAG,
	 .help = "only say what is wrong with options, environment and files: status 0 or 2",
	 .offset = offsetof(struct serve, check_config),
	 .origin = XY_FROM_COMMAND_LINE},
	{.name = "listen",
	 .letter = 'l',
	 .kind = XY_OPTION_TEXTS,
	 .argument = "HOST:PORT|tls:HOST:PORT|unix:PATH|systemd",
	 .help = "where to listen; may be given several times, IPv6 as [ADDRESS]:PORT; tls: with "
		 "TLS; systemd: on the sockets that its .socket unit has opened",
	 .fallback = "127.0.0.1:7400",
	 .offset = offsetof(struct serve, listen),
	 .check = listen_check},
	{.name = "unix-mode",
	 .kind = XY_OPTION_TEXT,
	 .argument = "MODE",
	 .help = "mode of the paths of UNIX sockets, like 0660: who may write there may "
		 "connect; if not given: what the umask leaves",
	 .offset = offsetof(struct serve, unix_mode),
	 .check = mode_check},
	{.name = "cgroup",
	 .letter = 'c',
	 .kind = XY_OPTION_TEXT,
	 .argument = "DIR|all|pod:UID|container:ID|pid:N",
	 .help = "cgroup v2 whose processes may get lanes: a directory, all that is mounted, that "
		 "of a pod, of a container, or the one that a process is in; if not given: that of "
		 "the pod that this runs in, or else all",
	 .offset = offsetof(struct serve, cgroup)},
	{.name = "kernel-path",
	 .letter = 'k',
	 .kind = XY_OPTION_CHOICE,
	 .argument = "auto|on|off",
	 .help = "whether the kernel moves messages: where it can, must (else status 5), or never",
	 .fallback = "auto",
	 .offset = offsetof(struct serve, kernel_path)},
	{.name = "instance",
	 .letter = 'i',
	 .kind = XY_OPTION_TEXT,
	 .argument = "NAME",
	 .help = "name of the admin socket and of the pinned maps; if not given: from the first "
		 "listener's port and the network namespace",
	 .offset = offsetof(struct serve, instance),
	 .check = instance_check},
	{.name = "admin",
	 .kind = XY_OPTION_TEXT,
	 .argument = "PATH",
	 .help = "admin socket; if not given: /run/xylem/NAME.sock",
	 .offset = offsetof(struct serve, admin)},
	{.name = "token-file",
	 .kind = XY_OPTION_TEXT,
	 .argument = "FILE",
	 .help = "clients must say a token of FILE; its lines are NAME TOKEN, NAME sha256:DIGEST, "
		 "or "
		 "a token alone",
	 .offset = offsetof(struct serve, token_file)},
	{.name = "tls-cert",
	 .kind = XY_OPTION_TEXT,
	 .argument = "FILE",
	 .help = "certificate of listeners with TLS, and those between it and a root (PEM)",
	 .offset = offsetof(struct serve, tls_cert)},
	{.name = "tls-key",
	 .kind = XY_OPTION_TEXT,
	 .argument = "FILE",
	 .help = "its key (PEM), which others may not read",
	 .offset = offsetof(struct serve, tls_key)},
	{.name = "tls-ca",
	 .kind = XY_OPTION_TEXT,
	 .argument = "FILE",
	 .help = "clients may show certificates that lead to one of those in FILE (PEM): it says "
		 "who they are",
	 .offset = offsetof(struct serve, tls_ca)},
	{.name = "tls-min",
	 .kind = XY_OPTION_CHOICE,
	 .argument = "1.2|1.3",
	 .help = "oldest version of TLS that is spoken",
	 .fallback = "1.3",
	 .offset = offsetof(struct serve, tls_min)},
	{.name = "anonymous",
	 .kind = XY_OPTION_CHOICE,
	 .argument = "none|local|any",
	 .help = "who is let in without having shown who he is: nobody, who comes by a UNIX socket "
		 "or a loopback address, or everybody; if not given: none when there are tokens, "
		 "users or --tls-ca, else local",
	 .offset = offsetof(struct serve, anonymous)},
	{.name = "loops",
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "threads that move messages; if not given: one per core that it may use",
	 .offset = offsetof(struct serve, loops),
	 .minimum = 1,
	 .maximum = 64},
	{.name = "max-connections",
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "refuse connections beyond N; if not given: what the descriptor limit allows, at "
		 "most 16384",
	 .offset = offsetof(struct serve, max_connections),
	 .minimum = 1,
	 .maximum = 1000000},
	{.name = "lanes",
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "connections that may have a lane at a time; further ones work without",
	 .fallback = "4096",
	 .offset = offsetof(struct serve, lanes),
	 .minimum = 1,
	 .maximum = 1000000},
	{.name = "flows",
	 .kind = XY_OPTION_NUMBER,
	 .argument = "N",
	 .help = "routes that the kernel may know at a time; beyond, the oldest gives way",
	 .fallback = "16384",
	 .offset = offsetof(struct serve, flows),
	 .minimum = 1,
	 .maximum = 1000000},
	{.name = "stuck-after",
	 .kind = XY_OPTION_DURATION,
	 .argument = "DURATION",
	 .help = "report a loop that does not come round for so long, and give what it has not "
		 "begun to others",
	 .fallback = "100ms",
	 .offset = offsetof(struct serve, stuck_after),
	 .minimum = 10,
	 .maximum = 10000},
	{.name = "memory-budget",
	 .kind = XY_OPTION_SIZE,
	 .argument = "SIZE",
	 .help = "what may lie in receive queues, pipes and socket buffers, like 64M; if not "
		 "given: the smaller of a quarter of tcp_mem and half of the cgroup's memory limit",
	 .offset = offsetof(struct serve, memory_budget),
	 .minimum = XY_BUDGET_MIN},
	{.name = "user",
	 .kind = XY_OPTION_TEXT,
	 .argument = "NAME|UID[:GROUP]",
	 .help = "once everything is open, become this user, with no other group than this or its "
		 "own; if not given: stay",
	 .offset = offsetof(struct serve, user)},
	{.name = "confine",
	 .kind = XY_OPTION_CHOICE,
	 .argument = "on|off",
	 .help = "give up capabilities and system calls that are not needed after the start "
		 "(docs/SECURITY.md); off for debuggers and the like",
	 .fallback = "on",
	 .offset = offsetof(struct serve, confine)},
	{.name = "log-level",
	 .kind = XY_OPTION_CHOICE,
	 .argument = "error|warn|info|debug",
	 .help = "what is logged to standard error",
	 .fallback = "info",
	 .offset = offsetof(struct serve, log_level)},
	{0},
};

/* What the values point into, and what they make. */
struct made {
	struct xy_config *config;
	char *words;
	struct xy_rules rules;
};

static void made_free(struct made *made)
{
	xy_rules_free(&made->rules);
	xy_config_free(made->config);
	free(made->words);
}

static void rules_make(const struct serve *serve, struct made *made,
		       struct xy_complaints *complaints)
{
	const struct xy_tls_files files = {.cert = serve->tls_cert,
					   .key = serve->tls_key,
					   .ca = serve->tls_ca,
					   .min = serve->tls_min};

	made->rules.tls = xy_tls_make(&files, complaints);
	made->rules.access = xy_access_make(made->config, made->rules.tls, serve->token_file,
					    serve->anonymous, complaints);
}

/* All sources, best first. False: *ret_status, and all that is wrong has been said. */
static bool sources_take(int argc, char **argv, struct serve *serve, struct made *made,
			 struct xy_complaints *complaints, int *ret_status)
{
	static const char *const others[] = {"access", NULL};
	struct xy_given given = {0};
	int first;

	if (!xy_options_flags(&xy_command_serve, argc, argv, serve, &given, &first, ret_status))
		return false;
	xy_options_environment(&xy_command_serve, serve, &given, &made->words, complaints);
	if (serve->config)
		made->config = xy_config_load(serve->config, complaints);
	if (made->config)
		xy_options_file(&xy_command_serve, made->config, others, serve, &given, complaints);
	rules_make(serve, made, complaints);
	*ret_status = XY_CMD_USAGE;
	return complaints->count == 0 &&
	       xy_options_defaults(&xy_command_serve, serve, &given, ret_status);
}

static void say(struct xy_complaints *complaints, const char *text)
{
	(void)complaints;
	fprintf(stderr, "xylem serve: %s\n", text);
}

/* Whether those who should can get in, and nobody else: at a real start the server looks. */
static bool listeners_check(const struct serve *serve, const struct xy_rules *rules,
			    struct xy_complaints *complaints)
{
	struct xy_address address;
	const char *problem;
	char why[256];

	for (unsigned l = 0; l < serve->listen.count; l++) {
		const char *text = serve->listen.item[l], *secured = xy_acceptor_tls(text);

		if (!strcmp(text, XY_LISTEN_GIVEN))
			continue; /* what has been passed is seen at the start */
		if (xy_address_parse(secured ? secured : text, &address, 1, why, sizeof(why)) < 0)
			xy_complain(complaints, "listen: %s", why);
		else if ((problem = xy_acceptor_problem(rules, xy_acceptor_reach(&address),
							secured != NULL)))
			xy_complain(complaints, "listen: %s: %s", text, problem);
	}
	return complaints->count == 0;
}

/* Who asks for TLS in one place and not in the other would get none, and perhaps not see it. */
static bool tls_is_used(const struct serve *serve)
{
	bool used = !serve->tls_cert;

	for (unsigned l = 0; l < serve->listen.count; l++)
		used = used || xy_acceptor_tls(serve->listen.item[l]);
	return used;
}

/* ---- again ----------------------------------------------------------------------------------- */

/* How the proxy was started, to read the same once more. */
struct start {
	int argc;
	char **argv;
	const struct serve *serve; /* as it runs */
};

struct hearing {
	struct xy_complaints complaints;
	char first[XY_COMPLAINT_SIZE];
};

static void hear(struct xy_complaints *complaints, const char *text)
{
	struct hearing *hearing = xy_container_of(complaints, struct hearing, complaints);

	if (complaints->count == 1)
		snprintf(hearing->first, sizeof(hearing->first), "%s", text);
}

static bool texts_equal(const struct xy_texts *a, const struct xy_texts *b)
{
	bool equal = a->count == b->count;

	for (unsigned i = 0; equal && i < a->count; i++)
		equal = !strcmp(a->item[i], b->item[i]);
	return equal;
}

static bool option_equal(const struct xy_option *option, const struct serve *a,
			 const struct serve *b)
{
	const void *x = (const char *)a + option->offset, *y = (const char *)b + option->offset;
	const char *first, *second;

	switch (option->kind) {
	case XY_OPTION_TEXTS:
		return texts_equal(x, y);
	case XY_OPTION_TEXT:
	case XY_OPTION_CHOICE:
		first = *(const char *const *)x;
		second = *(const char *const *)y;
		return first == second || (first && second && !strcmp(first, second));
	case XY_OPTION_FLAG:
		return *(const bool *)x == *(const bool *)y;
	default:
		return *(const uint64_t *)x == *(const uint64_t *)y;
	}
}

/* Only who may do what is taken anew, and what he knows us by. */
static bool is_reread(const struct xy_option *option)
{
	return !strcmp(option->name, "token-file") || !strcmp(option->name, "anonymous") ||
	       !strncmp(option->name, "tls-", 4);
}

static void tell_ignored(const struct serve *now, const struct serve *before)
{
	for (const struct xy_option *option = serve_options; option->name; option++)
		if (!is_reread(option) && !option_equal(option, now, before))
			xy_log(XY_LOG_WARN, "reload-ignored",
			       "option=--%s why=\"takes effect at the next start\"", option->name);
}

static int reread(void *context, struct xy_rules *ret_rules, char *why, size_t why_size)
{
	const struct start *start = context;
	struct hearing hearing = {.complaints = {.say = hear}};
	struct serve serve = {0};
	struct made made = {0};
	int status, error = -EINVAL;

	if (sources_take(start->argc, start->argv, &serve, &made, &hearing.complaints, &status)) {
		tell_ignored(&serve, start->serve);
		*ret_rules = made.rules;
		made.rules = (struct xy_rules){0};
		error = 0;
	} else if (hearing.complaints.count > 1) {
		snprintf(why, why_size, "%.900s (and %u more: see --check-config)", hearing.first,
			 hearing.complaints.count - 1);
	} else {
		snprintf(why, why_size, "%s", hearing.first);
	}
	made_free(&made);
	return error;
}

/* ---- the command ----------------------------------------------------------------------------- */

static void server_options_set(struct xy_server_options *options, const struct serve *serve)
{
	options->listen = serve->listen.item;
	options->listens = serve->listen.count;
	options->unix_mode = serve->unix_mode ? mode_of(serve->unix_mode) : 0;
	options->cgroup = serve->cgroup;
	options->kernel_path = !strcmp(serve->kernel_path, "on")    ? XY_KERNEL_PATH_ON
			       : !strcmp(serve->kernel_path, "off") ? XY_KERNEL_PATH_OFF
								    : XY_KERNEL_PATH_AUTO;
	options->instance = serve->instance;
	options->loops = (unsigned)serve->loops;
	options->max_connections = (unsigned)serve->max_connections;
	options->lanes = (unsigned)serve->lanes;
	options->flows = (unsigned)serve->flows;
	options->stuck_after_ms = (unsigned)serve->stuck_after;
	options->memory_budget = serve->memory_budget;
	options->admin_path = serve->admin;
	options->unconfined = !strcmp(serve->confine, "off");
}

/* Only at the start: a proxy that reads its options again cannot ask who users are any more. */
static bool user_take(const struct serve *serve, struct xy_server_options *options, int *ret_status)
{
	char why[XY_OPTION_WHY_SIZE] = "it goes with --confine on only";

	if (!serve->user)
		return true;
	options->other_user =
		strcmp(serve->confine, "off") &&
		xy_user_find(serve->user, &options->user, &options->group, why, sizeof(why)) == 0;
	if (!options->other_user)
		*ret_status = xy_options_complain(&xy_command_serve, "option --user: %s", why);
	return options->other_user;
}

static int serve_run(int argc, char **argv)
{
	struct xy_complaints complaints = {.say = say};
	struct serve serve = {0};
	struct start start = {.argc = argc, .argv = argv, .serve = &serve};
	struct made made = {0};
	struct xy_server_options options = {.size = sizeof(options)};
	enum xy_log_level level;
	int status;

	if (!sources_take(argc, argv, &serve, &made, &complaints, &status))
		goto out;
	if (!user_take(&serve, &options, &status))
		goto out;
	if (!tls_is_used(&serve)) {
		status = xy_options_complain(&xy_command_serve,
					     "option --tls-cert: no listener is tls:HOST:PORT");
		goto out;
	}
	if (serve.check_config) {
		status = XY_CMD_USAGE;
		if (listeners_check(&serve, &made.rules, &complaints))
			status = puts("xylem serve: nothing is wrong") < 0;
		goto out;
	}
	if (!xy_log_level_from_text(serve.log_level, &level))
		xy_log_set_level(level);
	server_options_set(&options, &serve);
	options.rules = made.rules;
	made.rules = (struct xy_rules){0};
	if (serve.config || serve.token_file || serve.tls_cert) {
		options.reread = reread;
		options.reread_context = &start;
	}
	status = (int)xy_serve(&options);
out:
	made_free(&made);
	return status;
}

const struct xy_command xy_command_serve = {
	.name = "serve",
	.arguments = "",
	.summary = "run the proxy in the foreground",
	.details =
		"Logs to standard error; ends in order on SIGTERM or SIGINT. On SIGHUP it reads "
		"again who\n"
		"may do what, if that stands in a file (see also xylem reload). Without the right "
		"to load\n"
		"kernel programs (root) it says so once and moves everything in user space.\n\n"
		"Exit status: 0 ended by a signal, 1 failed while at work, 2 an option that "
		"cannot\n"
		"work (address or name in use, no such cgroup …), 5 --kernel-path on and no "
		"lanes.\n\n"
		"An option is taken from the command line, else from the environment "
		"(--kernel-path is\n"
		"XYLEM_SERVE_KERNEL_PATH; several addresses are separated by spaces), else from "
		"the file.\n\n"
		"  xylem serve\n"
		"  xylem serve --listen 127.0.0.1:7400 --listen unix:/run/xylem.sock\n",
	.options = serve_options,
	.environment = "XYLEM_SERVE_",
	.positional_minimum = 0,
	.positional_maximum = 0,
	.run = serve_run,
};
