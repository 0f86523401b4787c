/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xylem: finds the subcommand and runs it.
 */
#include <stdio.h>
#include <string.h>

#include "cmd/commands.h"

static const struct xy_command *const commands[] = {
	&xy_command_serve,   &xy_command_pub,    &xy_command_sub,
	&xy_command_request, &xy_command_reply,  &xy_command_status,
	&xy_command_doctor,  &xy_command_reload, &xy_command_bench,
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *file)
{
	fputs("Usage: xylem COMMAND [OPTION]… [ARGUMENT]…\n"
	      "Messages between the processes of one machine, moved by the kernel.\n\n",
	      file);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(file, "  %-10s%s\n", commands[i]->name, commands[i]->summary);
	fputs("\n"
	      "  xylem COMMAND --help shows a command's options; xylem --version the version.\n"
	      "\n"
	      "Exit status:\n"
	      "    0  done\n"
	      "    1  failed while at work\n"
	      "    2  usage: an option or argument that cannot work\n"
	      "    3  no connection to the proxy\n"
	      "    4  no answer: nobody subscribes, or not in time\n"
	      "    5  serve --kernel-path on, and the kernel path cannot be had\n"
	      "  130  stopped by a signal before the work was done\n"
	      "\n"
	      "Environment: XYLEM_SERVER, where the proxy listens (default 127.0.0.1:7400);\n"
	      "XYLEM_TOKEN or XYLEM_TOKEN_FILE, what clients show to be let in.\n",
	      file);
}

static const struct xy_command *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct xy_command *command;

	if (argc < 2) {
		usage(stderr);
		return XY_CMD_USAGE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("xylem " XY_VERSION);
		return XY_CMD_OK;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		if (argc < 3) {
			usage(stdout);
			return XY_CMD_OK;
		}
		command = find(argv[2]);
		if (command) {
			xy_options_help(command);
			return XY_CMD_OK;
		}
		argv[1] = argv[2];
	}
	command = find(argv[1]);
	if (command)
		return command->run(argc - 1, argv + 1);

	fprintf(stderr, "xylem: no %s '%s'; the commands are",
		*argv[1] == '-' ? "option" : "command", argv[1]);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(stderr, " %s", commands[i]->name);
	fputs("\nTry 'xylem --help'.\n", stderr);
	return XY_CMD_USAGE;
}
