/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/admin.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/stop.h"

/* A proxy with a full table of connections answers with tens of MiB. */
#define ANSWER_MAX ((size_t)1 << 30)

static int admin_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* Whether somebody listens: a crash leaves its socket file. */
static bool admin_alive(const char *path)
{
	int fd = admin_connect(path);

	if (fd >= 0)
		close(fd);
	/* A full backlog and a lack of rights are signs of life too. */
	return fd >= 0 || fd == -EAGAIN || fd == -EACCES;
}

int xy_admin_find(const char *instance, char path[XY_ADMIN_PATH_SIZE], char *names, size_t size)
{
	unsigned found = 0;
	size_t used = 0;
	struct dirent *entry;
	DIR *dir;

	*names = 0;
	if (instance) {
		int length =
			snprintf(path, XY_ADMIN_PATH_SIZE, "%s/%s.sock", XY_ADMIN_DIR, instance);

		return length < XY_ADMIN_PATH_SIZE ? 0 : -ENAMETOOLONG;
	}
	dir = opendir(XY_ADMIN_DIR);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		size_t length = strlen(entry->d_name);
		char candidate[XY_ADMIN_PATH_SIZE];

		if (length <= 5 || strcmp(entry->d_name + length - 5, ".sock") ||
		    sizeof(XY_ADMIN_DIR) + length >= sizeof(candidate))
			continue;
		strcpy(stpcpy(candidate, XY_ADMIN_DIR "/"), entry->d_name);
		if (!admin_alive(candidate))
			continue;
		if (!found++)
			strcpy(path, candidate);
		if (used + length - 5 + 2 < size)
			used += (size_t)sprintf(names + used, "%s%.*s", used ? " " : "",
						(int)length - 5, entry->d_name);
	}
	closedir(dir);
	return found == 1 ? 0 : found ? -ENOTUNIQ : -ENOENT;
}

static int admin_wait(int fd, short events, uint64_t end_ms)
{
	struct pollfd polled[] = {{.fd = fd, .events = events},
				  {.fd = xy_stop_fd(), .events = POLLIN}};
	uint64_t now_ms = xy_clock_ms();

	if (now_ms >= end_ms)
		return -ETIMEDOUT;
	if (poll(polled, 2, (int)(end_ms - now_ms)) < 0 && errno != EINTR)
		return -errno;
	return xy_stop_wanted() ? -EINTR : 0;
}

/* Reads up to the newline. */
static int admin_read(int fd, uint64_t end_ms, char **ret_line, size_t *ret_length)
{
	size_t length = 0, size = 64 << 10;
	char *line = malloc(size), *larger;
	ssize_t got;
	int r;

	if (!line)
		return -ENOMEM;
	for (;;) {
		r = admin_wait(fd, POLLIN, end_ms);
		if (r)
			goto err_line;
		got = read(fd, line + length, size - length);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0) {
			r = got ? -errno : -EPIPE;
			goto err_line;
		}
		length += (size_t)got;
		if (line[length - 1] == '\n')
			break;
		if (length < size)
			continue;
		larger = size < ANSWER_MAX ? realloc(line, 2 * size) : NULL;
		if (!larger) {
			r = -ENOMEM;
			goto err_line;
		}
		line = larger;
		size *= 2;
	}
	*ret_line = line;
	*ret_length = length;
	return 0;

err_line:
	free(line);
	return r;
}

int xy_admin_locate(const struct xy_command *command, struct xy_admin_where *where)
{
	char names[1024];
	int r;

	if (where->admin) {
		if (where->instance)
			return xy_options_complain(
				command, "options --admin and --instance: give one of them");
		if (strlen(where->admin) >= sizeof(where->path))
			return xy_options_complain(
				command, "option --admin: a socket's path has at most %zu bytes",
				sizeof(where->path) - 1);
		strcpy(where->path, where->admin);
		return XY_CMD_OK;
	}
	r = xy_admin_find(where->instance, where->path, names, sizeof(names));
	switch (r) {
	case 0:
		return XY_CMD_OK;
	case -ENOTUNIQ:
		return xy_options_complain(
			command, "several proxies run here; choose one with --instance: %s", names);
	case -ENAMETOOLONG:
		return xy_options_complain(command, "option --instance: '%s' is too long",
					   where->instance);
	default:
		fprintf(stderr,
			"xylem %s: no proxy runs here (looked into %s); start one with 'xylem "
			"serve'\n",
			command->name, XY_ADMIN_DIR);
		return XY_CMD_UNREACHABLE;
	}
}

int xy_admin_complain(const struct xy_command *command, const struct xy_admin_where *where,
		      int error)
{
	const char *why = strerror(-error);

	if (error == -EINTR && xy_stop_wanted())
		return XY_CMD_SIGNALLED;
	if (error == -ENOENT || error == -ECONNREFUSED)
		why = "no proxy listens there; start one with 'xylem serve', or name another with "
		      "--instance";
	else if (error == -EACCES)
		why = "only the proxy's user and root may ask";
	else if (error == -ETIMEDOUT)
		why = "no answer in time (--timeout)";
	else if (error == -EBADMSG)
		why = "the answer is not JSON; is this a xylem proxy?";
	fprintf(stderr, "xylem %s: %s: %s\n", command->name, where->path, why);
	return error == -ETIMEDOUT ? XY_CMD_UNANSWERED
	       : error == -EBADMSG ? XY_CMD_FAILURE
				   : XY_CMD_UNREACHABLE;
}

int xy_admin_ask(const struct xy_admin_where *where, const char *request, json_t **ret_answer)
{
	uint64_t end_ms = xy_clock_ms() + where->timeout_ms;
	char question[128], *line = NULL;
	size_t length;
	json_t *answer;
	int fd, r;

	fd = admin_connect(where->path);
	if (fd < 0)
		return fd;
	length = (size_t)snprintf(question, sizeof(question), "{\"request\": \"%s\"}\n", request);
	/* Far below what an empty socket takes in one piece. */
	if (send(fd, question, length, MSG_NOSIGNAL) != (ssize_t)length) {
		r = -errno;
		goto out;
	}
	r = admin_read(fd, end_ms, &line, &length);
	if (r)
		goto out;
	answer = json_loadb(line, length, 0, NULL);
	if (answer)
		*ret_answer = answer;
	else
		r = -EBADMSG;
out:
	free(line);
	close(fd);
	return r;
}
