/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every subcommand that connects shares: its options, the connection, and waiting.
 */
#ifndef XY_CMD_CONNECT_H
#define XY_CMD_CONNECT_H

#include <stdbool.h>
#include <xylem/client.h>

#include "cmd/options.h"

struct xy_connect {
	/* By options. */
	const char *server, *token_file, *name;
	const char *tls_ca, *tls_cert, *tls_key, *tls_name;
	bool no_lane, no_reconnect, hold;

	/* By xy_connect_open(). */
	const struct xy_command *command;
	struct xy_client *client;
	bool ending; /* the connection's end is our own wish */
	bool failed; /* the proxy reported an error that answers no call of ours */
};

/* Rows of an option table, for a record `type` with a struct xy_connect `member`. */
#define XY_CONNECT_OPTIONS(type, member)                                                        \
	{.name = "server",                                                                      \
	 .letter = 's',                                                                         \
	 .kind = XY_OPTION_TEXT,                                                                \
	 .argument = "[tls:]HOST:PORT|unix:PATH",                                               \
	 .help = "where the proxy listens; if not given: $XYLEM_SERVER, else 127.0.0.1:7400",   \
	 .offset = offsetof(type, member.server)},                                              \
		{.name = "token-file",                                                          \
		 .kind = XY_OPTION_TEXT,                                                        \
		 .argument = "FILE",                                                            \
		 .help = "file with the token to show; if not given: $XYLEM_TOKEN, else the "   \
			 "file $XYLEM_TOKEN_FILE",                                              \
		 .offset = offsetof(type, member.token_file)},                                  \
		{.name = "tls-ca",                                                              \
		 .kind = XY_OPTION_TEXT,                                                        \
		 .argument = "FILE",                                                            \
		 .help = "of a tls: server: whom its certificate must lead to; if not given: "  \
			 "$XYLEM_TLS_CA, else whom this system trusts",                         \
		 .offset = offsetof(type, member.tls_ca)},                                      \
		{.name = "tls-cert",                                                            \
		 .kind = XY_OPTION_TEXT,                                                        \
		 .argument = "FILE",                                                            \
		 .help = "certificate to show to a server that asks; if not given: "            \
			 "$XYLEM_TLS_CERT",                                                     \
		 .offset = offsetof(type, member.tls_cert)},                                    \
		{.name = "tls-key",                                                             \
		 .kind = XY_OPTION_TEXT,                                                        \
		 .argument = "FILE",                                                            \
		 .help = "its key, which others may not read; if not given: $XYLEM_TLS_KEY",    \
		 .offset = offsetof(type, member.tls_key)},                                     \
		{.name = "tls-name",                                                            \
		 .kind = XY_OPTION_TEXT,                                                        \
		 .argument = "NAME",                                                            \
		 .help = "what the server's certificate must be issued for; if not given: "     \
			 "$XYLEM_TLS_NAME, else HOST",                                          \
		 .offset = offsetof(type, member.tls_name)},                                    \
		{.name = "name",                                                                \
		 .kind = XY_OPTION_TEXT,                                                        \
		 .argument = "NAME",                                                            \
		 .help = "name shown by 'xylem status'; if not given: the command and its pid", \
		 .offset = offsetof(type, member.name)},                                        \
	{                                                                                       \
		.name = "no-lane", .kind = XY_OPTION_FLAG,                                      \
		.help = "never ask the kernel path for anything",                               \
		.offset = offsetof(type, member.no_lane)                                        \
	}

/* One more row, for commands that end by themselves. */
#define XY_HOLD_OPTION(type, member)                                                 \
	{                                                                            \
		.name = "hold", .kind = XY_OPTION_FLAG,                              \
		.help = "when all is done stay connected, for 'xylem status' to be " \
			"looked at, until a signal",                                 \
		.offset = offsetof(type, member.hold)                                \
	}

/* Installs the signals (stop.h) and connects. Messages to this endpoint that answer nothing are
 * dropped. On failure prints why and returns a status; else XY_CMD_OK, and close is due. */
int xy_connect_open(struct xy_connect *connect, const struct xy_command *command);
void xy_connect_close(struct xy_connect *connect);

/* "xylem NAME: WHAT: WHY" on standard error, why from the client or the error; the status. */
int xy_connect_complain(const struct xy_connect *connect, const char *what, int error);

/* Waits until the client has something to do, a stop is wanted, `fd` (-1 = none) shows one of
 * `events`, or timeout_ms is over (< 0 = never). Returns what fd shows. */
short xy_connect_wait(const struct xy_connect *connect, int fd, short events, int timeout_ms);

/* Flushes, waits until the proxy has handed everything on, holds if told to, says GOODBYE. A
 * status. */
int xy_connect_finish(struct xy_connect *connect);

#endif
