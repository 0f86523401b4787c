/* SPDX-License-Identifier: BSD-2-Clause */
#include "edge/confine.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "core/core.h"
#include "core/reload.h"
#include "edge/admin.h"
#include "edge/filter.h"
#include "edge/privileges.h"
#include "kernel/kernel.h"
#include "proto/access.h"

struct places {
	struct xy_server *server;
	struct xy_admin *admin;
};

static void sweep(void *context)
{
	const struct places *places = context;

	xy_admin_unlink(places->admin);
	xy_server_unlink(places->server);
}

static enum xy_exit failed(const char *what, const char *remedy, int error)
{
	xy_log(XY_LOG_ERROR, "start-failed", "option=%s why=%s remedy=%s", what,
	       xy_log_quoted(strerror(-error)), xy_log_quoted(remedy));
	return XY_EXIT_USAGE;
}

/* 0: the maps can be used with the capabilities of now. */
static int maps_suffice(void *context)
{
	const struct xy_core *core = context;

	return core->kernel ? xy_kernel_usable(core->kernel) : 0;
}

static void tell(const struct xy_confinement *confinement)
{
	if (!confinement->on) {
		xy_log(XY_LOG_WARN, "confined", "active=no why=%s",
		       xy_log_quoted(confinement->why));
		return;
	}
	xy_log(XY_LOG_INFO, "confined",
	       "active=yes user=%u group=%u capabilities=%s filter=%s%s%s%s", confinement->user,
	       confinement->group, confinement->bpf ? "CAP_BPF" : "none",
	       confinement->filter ? "yes" : "no", *confinement->why ? " why=" : "",
	       *confinement->why ? xy_log_quoted(confinement->why) : "",
	       confinement->user ? "" : " hint=\"--user NAME gives it a user of its own\"");
}

/* Files that could be read at the start and cannot be now are better known now than at a reload. */
static void reread_try(const struct xy_server_options *options)
{
	struct xy_rules rules;
	char why[XY_RELOAD_WHY_SIZE], quoted[XY_RELOAD_WHY_SIZE];

	if (!options->reread)
		return;
	if (options->reread(options->reread_context, &rules, why, sizeof(why)))
		xy_log(XY_LOG_WARN, "reload-impossible",
		       "why=%s remedy=\"let the group of --user read its files (chgrp, chmod "
		       "640)\"",
		       xy_log_quote(quoted, sizeof(quoted), why));
	else
		xy_rules_free(&rules);
}

enum xy_exit xy_confine(struct xy_server *server, struct xy_admin *admin,
			const struct xy_server_options *options, struct xy_sweeper *ret_sweeper)
{
	struct xy_core *core = xy_server_core(server);
	struct xy_confinement *confinement = &core->confinement;
	struct places places = {.server = server, .admin = admin};
	int error;

	if (options->unconfined) {
		confinement->why = "--confine off";
		tell(confinement);
		return XY_EXIT_OK;
	}
	error = xy_sweeper_start(sweep, &places, ret_sweeper);
	if (error)
		return failed("--confine", "allow one more process, or --confine off", error);
	if (options->other_user) {
		error = xy_admin_give(admin, options->user, options->group);
		if (!error)
			error = xy_privileges_user(options->user, options->group);
		if (error)
			return failed("--user",
				      "start as root that still has CAP_SETUID, CAP_SETGID and "
				      "CAP_CHOWN, or without --user; in a unit of systemd User= "
				      "stands for it",
				      error);
	}
	error = xy_privileges_drop_but(maps_suffice, core, &confinement->bpf);
	if (error)
		return failed("--confine", "start with CAP_BPF, or --confine off", error);
	confinement->user = geteuid();
	confinement->group = getegid();
	error = XY_FILTER_BUILT ? xy_filter_load(options->reread != NULL) : 0;
	if (error)
		return failed("--confine", "allow seccomp(2), or --confine off", error);
	confinement->on = true;
	confinement->filter = XY_FILTER_BUILT;
	confinement->why = XY_FILTER_BUILT ? "" : "this build has a sanitizer";
	reread_try(options);
	tell(confinement);
	return XY_EXIT_OK;
}
