/* SPDX-License-Identifier: BSD-2-Clause */
#include "edge/serve.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/runtime.h"
#include "core/core.h"
#include "edge/admin.h"
#include "edge/confine.h"
#include "edge/ending.h"
#include "kernel/kernel.h"

static enum xy_exit admin_open(const struct xy_core *core, const char *path,
			       struct xy_admin **ret_admin)
{
	char directory[128], standard[256], why[256] = "";
	int error = 0;

	if (!path) {
		error = xy_runtime_directory(directory, sizeof(directory));
		snprintf(standard, sizeof(standard), "%s/%s.sock", directory, core->instance);
		path = standard;
	}
	if (!error)
		error = xy_admin_new(path, ret_admin, why, sizeof(why));
	if (error) {
		xy_log(XY_LOG_ERROR, "start-failed", "option=--admin why=%s",
		       xy_log_quoted(*why ? why : strerror(-error)));
		return XY_EXIT_USAGE;
	}
	xy_log(XY_LOG_INFO, "admin", "path=%s", path);
	return XY_EXIT_OK;
}

/* Also what `systemctl status` shows. */
static void manager_tell(const struct xy_core *core)
{
	char text[600];

	snprintf(text, sizeof(text), "READY=1\nSTATUS=%s%s",
		 core->kernel ? "lanes for " : "no lanes: ",
		 core->kernel ? xy_kernel_cgroup(core->kernel) : core->kernel_why);
	xy_service_tell(&core->service, text);
}

enum xy_exit xy_serve(const struct xy_server_options *options)
{
	struct xy_server *server;
	struct xy_admin *admin = NULL;
	struct xy_sweeper sweeper = {0};
	struct xy_ending *ending;
	enum xy_exit status = xy_server_new(options, &server);

	if (status)
		return status;
	status = admin_open(xy_server_core(server), options->admin_path, &admin);
	if (status)
		goto out;
	status = xy_confine(server, admin, options, &sweeper);
	if (status)
		goto out;
	status = xy_server_start(server);
	if (status)
		goto out;
	if (xy_admin_start(admin, xy_server_core(server), xy_server_reload(server))) {
		xy_log(XY_LOG_ERROR, "start-failed", "why=\"no thread for the admin socket\"");
		status = XY_EXIT_FAILURE;
		xy_server_stop(server);
		goto out;
	}
	manager_tell(xy_server_core(server));
	status = xy_server_wait(server);
	ending = xy_ending_begin(server, admin, &sweeper);
	xy_admin_stop(admin);
	xy_server_stop(server);
	xy_ending_over(ending);
out:
	xy_sweeper_sweep(&sweeper); /* while the instance is still ours: see lock_take() */
	xy_admin_free(admin);
	xy_server_free(server);
	xy_log_flush(true);
	return status;
}
