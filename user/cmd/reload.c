/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem reload: has a proxy read again who may do what, and waits until that is in force.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/admin.h"
#include "cmd/commands.h"
#include "cmd/stop.h"

struct reload {
	struct xy_admin_where where;
};

static const struct xy_option reload_options[] = {
	XY_ADMIN_OPTIONS(struct reload, where),
	{0},
};

static int reload_print(const json_t *answer)
{
	const char *error = json_string_value(json_object_get(answer, "error"));
	const json_t *revoked = json_object_get(answer, "revoked");

	if (error) {
		fprintf(stderr, "xylem reload: nothing has changed: %s\n", error);
		return XY_CMD_FAILURE;
	}
	printf("in force; ended by it: %" JSON_INTEGER_FORMAT " flows, %" JSON_INTEGER_FORMAT
	       " subscriptions, %" JSON_INTEGER_FORMAT " connections\n",
	       json_integer_value(json_object_get(revoked, "flows")),
	       json_integer_value(json_object_get(revoked, "subscriptions")),
	       json_integer_value(json_object_get(revoked, "connections")));
	return XY_CMD_OK;
}

static int reload_run(int argc, char **argv)
{
	struct reload reload = {0};
	json_t *answer;
	int first, r;

	if (!xy_options_parse(&xy_command_reload, argc, argv, &reload, &first, &r))
		return r;
	r = xy_stop_install();
	if (r) {
		fprintf(stderr, "xylem reload: %s\n", strerror(-r));
		return XY_CMD_FAILURE;
	}
	r = xy_admin_locate(&xy_command_reload, &reload.where);
	if (r)
		return r;
	r = xy_admin_ask(&reload.where, "reload", &answer);
	if (r)
		return xy_admin_complain(&xy_command_reload, &reload.where, r);
	r = reload_print(answer);
	json_decref(answer);
	return r;
}

const struct xy_command xy_command_reload = {
	.name = "reload",
	.arguments = "",
	.summary = "have a proxy read again who may do what",
	.details =
		"As SIGHUP does, but waits: when it ends with 0 the rules, users and tokens that "
		"the\n"
		"files now have are in force, and what they do not allow has ended. If anything "
		"is\n"
		"wrong with the files nothing changes, and it ends with 1.\n\n"
		"  xylem reload\n",
	.options = reload_options,
	.positional_minimum = 0,
	.positional_maximum = 0,
	.run = reload_run,
};
