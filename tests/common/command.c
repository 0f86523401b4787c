/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/command.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/sandbox.h"

struct outcome outcome;

static char directory[] = "/tmp/xylem-command-XXXXXX";

void directory_make(void)
{
	assert_non_null(mkdtemp(directory));
	/* Those without rights look into it, too. */
	assert_int_equal(chmod(directory, 0755), 0);
}

void directory_remove(void)
{
	DIR *opened = opendir(directory);

	assert_non_null(opened);
	for (const struct dirent *entry; (entry = readdir(opened)) != NULL;)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(opened), entry->d_name, 0);
	closedir(opened);
	rmdir(directory);
}

int directory_setup(void **state)
{
	(void)state;
	sandbox_enter();
	directory_make();
	return 0;
}

int directory_teardown(void **state)
{
	(void)state;
	directory_remove();
	return 0;
}

const char *directory_path(void)
{
	return directory;
}

const char *in_directory(const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *one = path[next++ % LENGTH(path)];

	snprintf(one, sizeof(path[0]), "%s/%s", directory, name);
	return one;
}

const char *file_with(const char *name, const char *text, size_t times)
{
	const char *path = in_directory(name);
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fchmod(fileno(file), 0600), 0);
	while (times-- > 0)
		fputs(text, file);
	assert_int_equal(fclose(file), 0);
	return path;
}

static void text_read(int fd, char text[TEXT_MAX])
{
	ssize_t got = pread(fd, text, TEXT_MAX - 1, 0);

	assert_true(got >= 0);
	text[got] = '\0';
}

struct running start(void (*prepare)(void), const char *const *arguments)
{
	const char *argv[ARGUMENTS_MAX] = {"xylem"};
	struct running running = {.out = memfd_create("out", MFD_CLOEXEC),
				  .err = memfd_create("err", MFD_CLOEXEC)};
	/* By descriptor: without rights the path may not be walked. */
	int binary = open(proxy_binary(), O_RDONLY | O_CLOEXEC);
	extern char **environ;

	assert_true(running.out >= 0 && running.err >= 0 && binary >= 0);
	assert_int_equal(fcntl(running.err, F_SETFL, O_APPEND), 0);
	for (int i = 0; arguments[i] != NULL; i++)
		argv[i + 1] = arguments[i];
	running.pid = fork();
	assert_true(running.pid >= 0);
	if (running.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
		dup2(running.out, STDOUT_FILENO);
		dup2(running.err, STDERR_FILENO);
		if (prepare != NULL)
			prepare();
		fexecve(binary, (char *const *)argv, environ);
		_exit(127);
	}
	close(binary);
	return running;
}

void show(void)
{
	print_message("status %d\n---- out ----\n%s---- err ----\n%s----\n", outcome.status,
		      outcome.out, outcome.err);
}

/* Until it has ended by itself; fills outcome. */
void finish(struct running running)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	bool ended, late = false;
	int status;

	while (!(ended = waitpid(running.pid, &status, WNOHANG) == running.pid) && !late) {
		late = test_now_ms() > deadline;
		poll(NULL, 0, 2);
	}
	if (!ended) {
		kill(running.pid, SIGKILL);
		waitpid(running.pid, &status, 0);
	}
	text_read(running.out, outcome.out);
	text_read(running.err, outcome.err);
	close(running.out);
	close(running.err);
	outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
	if (!ended) {
		show();
		fail_msg("it does not end");
	}
}

void run(void (*prepare)(void), const char *const *arguments)
{
	finish(start(prepare, arguments));
}

/* Waits until its standard error holds this, or it has ended. */
void await(struct running running, const char *words)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	siginfo_t info = {0};

	for (;;) {
		text_read(running.err, outcome.err);
		if (strstr(outcome.err, words) != NULL || info.si_pid != 0)
			return;
		if (test_now_ms() > deadline) {
			kill(running.pid, SIGKILL);
			finish(running);
			show();
			fail_msg("it does not say: %s", words);
		}
		waitid(P_PID, (id_t)running.pid, &info, WEXITED | WNOHANG | WNOWAIT);
		poll(NULL, 0, 2);
	}
}

/* It works; then it is stopped. */
void works(struct running running)
{
	await(running, "event=started");
	kill(running.pid, SIGTERM);
	finish(running);
	if (outcome.status != OK || strstr(outcome.err, "event=started") == NULL) {
		show();
		fail_msg("it does not work");
	}
}

void ended(int status)
{
	if (outcome.status != status) {
		show();
		fail_msg("status is %d, not %d", outcome.status, status);
	}
}

void says(const char *text, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strstr(text, *words) == NULL) {
			show();
			fail_msg("it does not say: %s", *words);
		}
}

void says_not(const char *text, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strstr(text, *words) != NULL) {
			show();
			fail_msg("it says: %s", *words);
		}
}

int port_take(char address[PORT_TEXT_SIZE])
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &length), 0);
	snprintf(address, PORT_TEXT_SIZE, "127.0.0.1:%u", ntohs(in.sin_port));
	return fd;
}
