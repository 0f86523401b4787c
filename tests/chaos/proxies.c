/* SPDX-License-Identifier: BSD-2-Clause */
#include "chaos/proxies.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chaos/members.h"
#include "common/certs.h"
#include "common/sandbox.h"

#define READY_MS 60000
#define DRAIN_MS 30000

struct proxy {
	pid_t pid;
	bool up, expected; /* its end was our doing … */
	bool killed;       /* … by SIGKILL */
	uint64_t since_ms; /* of the last change */
	uint64_t rss;
	char instance[48], log[512], cert[512], key[512];
};

static struct ledger *ledger;
static const char *binary;
static struct proxy proxy[PROXIES];
static struct cert *authority;
static uint32_t terms, kills;

static uint16_t free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool bound = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
		     getsockname(fd, (struct sockaddr *)&address, &length) == 0;

	close(fd);
	return bound ? ntohs(address.sin_port) : 0;
}

static void exec_proxy(uint32_t p)
{
	const char *argv[] = {binary,
			      "serve",
			      "--listen",
			      ledger->server[p],
			      "--listen",
			      ledger->local[p],
			      "--listen",
			      ledger->secure[p],
			      "--tls-cert",
			      proxy[p].cert,
			      "--tls-key",
			      proxy[p].key,
			      "--instance",
			      proxy[p].instance,
			      "--kernel-path",
			      p == 0 ? "on" : "off",
			      "--cgroup",
			      sandbox_cgroup(),
			      NULL};
	int log = open(proxy[p].log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	dup2(log, STDERR_FILENO);
	dup2(log, STDOUT_FILENO);
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

/* Runs `xylem status …`; its exit status, and its output if wanted. */
static int ask(uint32_t p, const char *arguments, json_t **ret_json)
{
	char command[1024];
	json_error_t error;
	FILE *output;

	snprintf(command, sizeof(command), "exec %s status %s --timeout 20s --instance %s 2>&1",
		 binary, arguments, proxy[p].instance);
	output = popen(command, "re");
	if (output == NULL)
		return -1;
	if (ret_json != NULL) {
		*ret_json = json_loadf(output, JSON_DISABLE_EOF_CHECK, &error);
		while (fgetc(output) != EOF)
			;
	}
	return pclose(output);
}

/* Each of its lives has another one. */
static void make_certificate(uint32_t p)
{
	struct cert *cert = cert_make(
		&(struct cert_options){.alternatives = "IP:127.0.0.1", .issuer = authority});

	cert_write(proxy[p].cert, 0644, cert->pem);
	cert_write(proxy[p].key, 0600, cert->key_pem);
	cert_free(cert);
}

static int start(uint32_t p)
{
	uint64_t deadline = ledger_ms(ledger) + READY_MS;

	make_certificate(p);
	proxy[p].expected = proxy[p].killed = false;
	proxy[p].pid = fork();
	if (proxy[p].pid == 0)
		exec_proxy(p);
	while (ask(p, "--ready", NULL) != 0) {
		if (waitpid(proxy[p].pid, NULL, WNOHANG) != 0 || ledger_ms(ledger) > deadline) {
			ledger_fail(ledger, OTHER, "proxy %u does not start: see %s", p,
				    proxy[p].log);
			return -1;
		}
		poll(NULL, 0, 20);
	}
	ledger_note(ledger, "- proxy %u: up", p);
	proxy[p].up = true;
	proxy[p].since_ms = ledger_ms(ledger);
	atomic_store(&ledger->up_ms[p], ledger_ms(ledger));
	return 0;
}

int proxies_open(struct ledger *the_ledger, const char *directory, const char *the_binary)
{
	ledger = the_ledger;
	binary = the_binary;
	authority = cert_make(&(struct cert_options){.name = "chaos", .is_ca = true});
	snprintf(ledger->ca, sizeof(ledger->ca), "%s/ca.pem", directory);
	cert_write(ledger->ca, 0644, authority->pem);
	for (uint32_t p = 0; p < PROXIES; p++) {
		const char *path = p == 0 ? "on" : "off";

		snprintf(ledger->server[p], sizeof(ledger->server[p]), "127.0.0.1:%u", free_port());
		snprintf(ledger->secure[p], sizeof(ledger->secure[p]), "tls:127.0.0.1:%u",
			 free_port());
		snprintf(proxy[p].cert, sizeof(proxy[p].cert), "%s/cert-%s.pem", directory, path);
		snprintf(proxy[p].key, sizeof(proxy[p].key), "%s/key-%s.pem", directory, path);
		snprintf(ledger->local[p], sizeof(ledger->local[p]), "unix:/tmp/xylem-chaos-%d-%u",
			 getpid(), p);
		snprintf(proxy[p].instance, sizeof(proxy[p].instance), "chaos-%d-%u", getpid(), p);
		snprintf(proxy[p].log, sizeof(proxy[p].log), "%s/proxy-%s.log", directory, path);
		unlink(proxy[p].log);
		if (start(p) != 0)
			return -1;
	}
	return 0;
}

static void rss_look(struct proxy *self)
{
	char path[64], line[256];
	unsigned long kib;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", self->pid);
	file = fopen(path, "re");
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "VmHWM: %lu", &kib) == 1 && kib > self->rss)
			self->rss = kib;
	fclose(file);
}

void proxies_tick(void)
{
	for (uint32_t p = 0; p < PROXIES; p++) {
		struct proxy *self = &proxy[p];
		int status = 0;

		rss_look(self);
		if (waitpid(self->pid, &status, WNOHANG) == 0) {
			if (self->expected &&
			    ledger_ms(ledger) > self->since_ms + ledger_bound(ledger, DRAIN_MS)) {
				ledger_fail(ledger, OTHER, "proxy %u does not end by SIGTERM", p);
				kill(self->pid, SIGKILL);
				self->killed = true;
				self->since_ms = ledger_ms(ledger);
			}
			continue;
		}
		self->up = false;
		members_proxy_ended(ledger, p);
		if (!self->expected)
			ledger_fail(ledger, OTHER, "proxy %u died by itself, status %#x: see %s", p,
				    status, self->log);
		else if (!self->killed && status != 0)
			ledger_fail(ledger, OTHER, "proxy %u ended with status %#x after SIGTERM",
				    p, status);
		if (start(p) != 0)
			exit(1);
	}
}

bool proxies_up(uint32_t p)
{
	return proxy[p].up && !proxy[p].expected;
}

static void stop(uint32_t p, int signal)
{
	atomic_store(&ledger->down_ms[p], ledger_ms(ledger));
	proxy[p].expected = true;
	proxy[p].killed = signal == SIGKILL;
	proxy[p].since_ms = ledger_ms(ledger);
	kill(proxy[p].pid, signal);
	ledger_note(ledger, "- proxy %u: %s", p, signal == SIGKILL ? "SIGKILL" : "SIGTERM");
}

void proxies_term(uint32_t p)
{
	terms++;
	stop(p, SIGTERM);
}

void proxies_kill(uint32_t p)
{
	kills++;
	stop(p, SIGKILL);
}

json_t *proxies_status(uint32_t p)
{
	json_t *json = NULL;

	if (!proxies_up(p))
		return NULL;
	if (ask(p, "--json", &json) != 0 || json == NULL) {
		json_decref(json);
		if (waitpid(proxy[p].pid, NULL, WNOHANG | WNOWAIT) == 0)
			ledger_fail(ledger, OTHER, "proxy %u does not tell its status", p);
		return NULL;
	}
	return json;
}

uint64_t proxies_rss(uint32_t p)
{
	return proxy[p].rss;
}

unsigned proxies_descriptors(uint32_t p)
{
	char path[64];
	unsigned count = 0;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fd", proxy[p].pid);
	directory = opendir(path);
	if (directory == NULL)
		return 0;
	for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

void proxies_end(uint32_t p)
{
	uint64_t deadline = ledger_ms(ledger) + ledger_bound(ledger, DRAIN_MS);
	int status = 0;

	kill(proxy[p].pid, SIGTERM);
	while (waitpid(proxy[p].pid, &status, WNOHANG) == 0) {
		if (ledger_ms(ledger) > deadline) {
			ledger_fail(ledger, OTHER, "proxy %u does not end", p);
			kill(proxy[p].pid, SIGKILL);
			waitpid(proxy[p].pid, NULL, 0);
			return;
		}
		poll(NULL, 0, 5);
	}
	if (status != 0)
		ledger_fail(ledger, OTHER, "proxy %u ended with status %#x", p, status);
	unlink(ledger->local[p] + strlen("unix:"));
}

const char *proxies_log(uint32_t p)
{
	return proxy[p].log;
}

uint32_t proxies_terms(void)
{
	return terms;
}

uint32_t proxies_kills(void)
{
	return kills;
}
