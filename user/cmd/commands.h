/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The subcommands of `xylem`, one file each.
 */
#ifndef XY_CMD_COMMANDS_H
#define XY_CMD_COMMANDS_H

#include "cmd/options.h"

extern const struct xy_command xy_command_serve;
extern const struct xy_command xy_command_pub;
extern const struct xy_command xy_command_sub;
extern const struct xy_command xy_command_request;
extern const struct xy_command xy_command_reply;
extern const struct xy_command xy_command_status;
extern const struct xy_command xy_command_doctor;
extern const struct xy_command xy_command_reload;
extern const struct xy_command xy_command_bench;

#endif
