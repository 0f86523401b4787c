/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines to four servers in turn, and what each took for them.
 *
 *   lines_load PID=PORT PID=PORT PID=PORT PID=PORT [MIB [ROUNDS]]
 *
 * The first three are newline servers, on pipes, on plain buffers and on stdio; the fourth sends
 * back what it gets.
 *
 * One thread sends lines of one length, another reads the answers. For each length a line of JSON:
 * MiB/s and CPU time per GiB (ms) of each server, medians.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SERVERS    4
#define ROUNDS_MAX 99
#define COPY       (SERVERS - 1)
#define MIB        ((size_t)1 << 20)

struct server {
	int pid;
	unsigned port;
};

struct job {
	int fd;
	size_t line, total;
	const char *lines; /* a MiB or more of whole lines */
	size_t size;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* CPU time that a process has used, to the nanosecond. */
static double cpu_of(int pid)
{
	struct timespec time;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &time)) {
		fprintf(stderr, "lines_load: there is no process %d\n", pid);
		exit(1);
	}
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *send_lines(void *argument)
{
	struct job *job = argument;
	size_t left = job->total;

	while (left > 0) {
		size_t part = left < job->size ? left : job->size, at = 0;

		while (at < part) {
			ssize_t n = send(job->fd, job->lines + at, part - at, MSG_NOSIGNAL);

			if (n < 0)
				exit(1);
			at += (size_t)n;
		}
		left -= part;
	}
	shutdown(job->fd, SHUT_WR);
	return NULL;
}

static void run(const struct server *server, bool answers, size_t line, size_t mib,
		double *ret_wall, double *ret_cpu)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)server->port),
				      .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	size_t each = line + 1, count = (MIB + each - 1) / each, got = 0, wanted;
	struct job job = {.line = line, .size = count * each};
	static char answer[256 << 10];
	char *lines = malloc(job.size);
	double begun, cpu;
	pthread_t thread;
	ssize_t n;

	memset(lines, 'x', job.size);
	for (size_t i = 1; i <= count; i++)
		lines[i * each - 1] = '\n';
	job.lines = lines;
	job.total = job.size * mib;
	wanted = job.total;
	if (answers)
		wanted += count * mib * (size_t)(snprintf(NULL, 0, "%zu", line) + 1);
	job.fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(job.fd, (struct sockaddr *)&address, sizeof(address))) {
		perror("lines_load: connect");
		exit(1);
	}
	cpu = cpu_of(server->pid);
	begun = now();
	pthread_create(&thread, NULL, send_lines, &job);
	while ((n = recv(job.fd, answer, sizeof(answer), 0)) > 0)
		got += (size_t)n;
	pthread_join(thread, NULL);
	*ret_wall = (now() - begun) / (double)job.total * 1024 * (double)MIB;
	*ret_cpu = (cpu_of(server->pid) - cpu) / (double)job.total * 1024 * (double)MIB;
	close(job.fd);
	free(lines);
	/* A server that does without the end of the stream has not answered all. */
	if (got != wanted) {
		fprintf(stderr, "lines_load: %zu bytes of answers, not %zu\n", got, wanted);
		exit(1);
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *of, int rounds)
{
	qsort(of, (size_t)rounds, sizeof(*of), compare);
	return of[rounds / 2];
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {16, 64, 256, 1024, 4096, 16384, 65536};
	static const char *const names[SERVERS] = {"pipes", "plain", "stdio", "copy"};
	static double wall[SERVERS][ROUNDS_MAX], cpu[SERVERS][ROUNDS_MAX];
	struct server server[SERVERS];
	size_t mib = argc > 5 ? strtoul(argv[5], NULL, 10) : 32;
	int rounds = argc > 6 ? atoi(argv[6]) : 7;

	bool good = argc > SERVERS && mib > 0 && mib <= 4096 && rounds > 0 && rounds <= ROUNDS_MAX;

	for (int k = 0; good && k < SERVERS; k++)
		good = sscanf(argv[k + 1], "%d=%u", &server[k].pid, &server[k].port) == 2;
	if (!good) {
		fprintf(stderr,
			"usage: lines_load PID=PORT PID=PORT PID=PORT PID=PORT [MIB [ROUNDS]]\n");
		return 2;
	}
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		double of_cpu[SERVERS], of_wall[SERVERS];
		/* Short ones take long. */
		size_t amount = sizes[s] < 256 && mib > 4 ? mib / 4 : mib;

		for (int r = 0; r < rounds; r++)
			for (int k = 0; k < SERVERS; k++)
				run(&server[k], k < COPY, sizes[s], amount, &wall[k][r],
				    &cpu[k][r]);
		for (int k = 0; k < SERVERS; k++) {
			of_cpu[k] = median(cpu[k], rounds);
			of_wall[k] = median(wall[k], rounds);
		}
		printf("{\"bench\":\"lines\",\"line\":%zu", sizes[s]);
		for (int k = 0; k < SERVERS; k++)
			printf(",\"%s\":{\"mib_s\":%.1f,\"cpu_ms_gib\":%.1f}", names[k],
			       1024 / of_wall[k], of_cpu[k] * 1000);
		printf("}\n");
		fflush(stdout);
	}
	return 0;
}
