/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edge/confine.h"
#include "edge/filter.h"
#include "edge/privileges.h"
#include "kernel/doctor.h"

#define SOMEBODY 65534 /* any user but root; none needs to have this number */

enum stage {
	STAGE_NONE,
	STAGE_CAPABILITIES,
	STAGE_FILTER,
	STAGE_REFUSAL,
	STAGE_DONE,
};

/* What the child came to. */
struct tried {
	enum stage stage;
	int error;
	bool stays_root;
};

static int capabilities_drop(struct tried *tried)
{
	tried->stage = STAGE_CAPABILITIES;
	tried->stays_root = geteuid() == 0 && xy_privileges_user(SOMEBODY, SOMEBODY);
	return xy_privileges_drop();
}

static int calls_filter(struct tried *tried)
{
	tried->stage = STAGE_FILTER;
	return xy_filter_load(true);
}

/* That a filter was taken is not yet that it filters. */
static int call_refused(struct tried *tried)
{
	tried->stage = STAGE_REFUSAL;
	if (socket(AF_UNIX, SOCK_STREAM, 0) >= 0)
		return -EEXIST;
	return errno == EPERM ? 0 : -errno;
}

static void child(int pipe)
{
	struct tried tried = {0};

	tried.error = capabilities_drop(&tried);
	if (!tried.error)
		tried.error = calls_filter(&tried);
	if (!tried.error)
		tried.error = call_refused(&tried);
	if (!tried.error)
		tried.stage = STAGE_DONE;
	_exit(write(pipe, &tried, sizeof(tried)) != sizeof(tried));
}

static int try(struct tried *tried)
{
	int ends[2], error = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid == 0)
		child(ends[1]);
	if (pid < 0)
		error = -errno;
	close(ends[1]);
	/* Without a word it has died: that is STAGE_NONE. */
	if (!error && read(ends[0], tried, sizeof(*tried)) < 0)
		error = -errno;
	close(ends[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return error;
}

__attribute__((format(printf, 4, 5))) static void say(struct xy_finding *finding,
						      enum xy_verdict verdict, const char *remedy,
						      const char *format, ...)
{
	va_list arguments;

	finding->verdict = verdict;
	snprintf(finding->remedy, sizeof(finding->remedy), "%s", remedy);
	va_start(arguments, format);
	vsnprintf(finding->reason, sizeof(finding->reason), format, arguments);
	va_end(arguments);
}

static void conclude(struct xy_finding *finding, const struct tried *tried)
{
	static const char *const remedy[] = {
		[STAGE_NONE] = "let it make processes, or 'xylem serve --confine off'",
		[STAGE_CAPABILITIES] =
			"allow capset(2) and prctl(2), or 'xylem serve --confine off'",
		[STAGE_FILTER] = "allow seccomp(2), or 'xylem serve --confine off'",
		[STAGE_REFUSAL] =
			"a kernel with CONFIG_SECCOMP_FILTER, or 'xylem serve --confine off'",
	};
	static const char *const what[] = {
		[STAGE_NONE] = "the process that tried it died",
		[STAGE_CAPABILITIES] = "capabilities cannot be given up",
		[STAGE_FILTER] = "system calls cannot be filtered",
		[STAGE_REFUSAL] = "a system call that is filtered was not refused",
	};

	if (tried->stage != STAGE_DONE)
		say(finding, XY_VERDICT_NO, remedy[tried->stage], "%s%s%s", what[tried->stage],
		    tried->error ? ": " : "", tried->error ? strerror(-tried->error) : "");
	else if (tried->stays_root)
		say(finding, XY_VERDICT_DEGRADED,
		    "start it as another user than root, or with CAP_SETUID and CAP_SETGID for "
		    "--user",
		    "capabilities are given up and system calls are filtered, but it stays root, "
		    "whose files it may change");
	else
		say(finding, XY_VERDICT_OK, "",
		    "capabilities are given up for good, other system calls than those of a proxy "
		    "are refused");
}

void xy_confine_try(struct xy_finding *finding)
{
	struct tried tried = {0};
	int error;

	*finding = (struct xy_finding){.name = "confinement"};
	if (!XY_FILTER_BUILT) {
		say(finding, XY_VERDICT_UNTRIED, "try it with another build",
		    "this build has a sanitizer, and filters no system calls");
		return;
	}
	error = try(&tried);
	if (error)
		say(finding, XY_VERDICT_UNTRIED, "more processes and descriptors",
		    "no process for it: %s", strerror(-error));
	else
		conclude(finding, &tried);
}
