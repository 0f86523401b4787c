/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stalled neighbour: one publisher, one healthy subscriber, and one that never reads.
 *
 *	stalled [--judge] SECONDS PID NAME KIND SERVER [POLICY]
 *
 * The publisher sends 20,000 messages of 1 KiB a second by the clock, whatever happens (a message
 * that is late keeps its planned time), first to the healthy subscriber alone, then to both. Shown
 * are, with the stalled one: how many messages left in time, the longest stall of the publisher,
 * the worst latency of the healthy subscriber from the planned time on, what it lost, when the
 * stalled one was cut, and the peak of the server's memory. KIND is xylem, nats or redis; PID the
 * server's, 0 = do not look. --judge: exits with 1, and names the figure, when one is worse than
 * xylem promises for that policy.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>
#include <nats/nats.h>

#include <xylem/client.h>
#include <xylem/wire.h>

#define RATE      20000 /* messages a second */
#define TICK_NS   1000000
#define A_TICK    (RATE / 1000)
#define SIZE      1024
#define SUBJECT   "bench.stalled"
#define SETTLE_MS 2000 /* for what is under way when the publisher has ended */

/* What xylem promises. */
#define STALL_NS   10000000ull /* of the publisher … */
#define LATENCY_NS 40000000ull /* … and the healthy subscriber */
#define BLOCK_NS   ((XY_STALL_MS_DEFAULT + 100ull) * 1000000ull) /* of both, under block, once */

/* What the processes of one run tell each other. */
struct ledger {
	_Atomic bool ready[2]; /* healthy, stalled */
	_Atomic uint64_t received, worst_ns;
};

struct stamp {
	uint64_t sequence, planned_ns;
};

static struct ledger *ledger;
static const char *server, *policy;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "stalled: %s: %s\n", what, why);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void received(const void *data)
{
	struct stamp stamp;
	uint64_t late;

	memcpy(&stamp, data, sizeof(stamp));
	late = now_ns() - stamp.planned_ns;
	if (late > ledger->worst_ns)
		ledger->worst_ns = late;
	ledger->received++;
}

/* Never reads. Its end does not show here: a FIN is stuck behind what is not read. */
static void stall(void)
{
	ledger->ready[1] = true;
	for (;;)
		pause();
}

/* Sends the text of a protocol that a server takes without being read from, and stalls. */
static void stall_by_hand(const char *text)
{
	char host[64];
	struct sockaddr_in address = {.sin_family = AF_INET};
	const char *colon = strrchr(server, ':');
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	snprintf(host, sizeof(host), "%.*s", (int)(colon - server), server);
	address.sin_port = htons((uint16_t)atoi(colon + 1));
	inet_pton(AF_INET, host, &address.sin_addr);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    write(fd, text, strlen(text)) < 0)
		die(server, strerror(errno));
	usleep(200000); /* neither protocol tells a client that does not read */
	stall();
}

/* ---- xylem ----------------------------------------------------------------------------------- */

static struct xy_client *xylem_client;
static struct xy_topic *xylem_topic;

static void xylem_open(void)
{
	struct xy_client_options options = {
		.size = sizeof(options), .server = server, .no_reconnect = true};

	if (xy_client_connect(&options, &xylem_client) != 0)
		die("xylem", "cannot connect");
}

static void xylem_subscribe(const char *overflow)
{
	struct xy_subscribe_options options = {.size = sizeof(options), .overflow = overflow};

	xylem_open();
	if (xy_client_subscribe(xylem_client, SUBJECT, &options, NULL) != 0)
		die("xylem", xy_client_error(xylem_client));
}

static void xylem_healthy(void)
{
	struct xy_message message;

	xylem_subscribe("block");
	ledger->ready[0] = true;
	while (xy_client_next(xylem_client, -1, &message) == 0)
		received(message.data);
}

static void xylem_stalled(void)
{
	xylem_subscribe(policy);
	stall();
}

static void xylem_publisher(void)
{
	xylem_open();
	if (xy_client_declare(xylem_client, SUBJECT, &xylem_topic) != 0)
		die("xylem", xy_client_error(xylem_client));
}

static void xylem_publish(const void *message)
{
	int error = xy_client_publish(xylem_client, xylem_topic, message, SIZE);

	if (error)
		die("publish", xy_client_error(xylem_client));
}

static void xylem_flush(void)
{
	xy_client_flush(xylem_client, -1);
	xy_client_process(xylem_client);
}

/* ---- NATS: its own library, defaults --------------------------------------------------------- */

static natsConnection *nats;

static void nats_open(void)
{
	char url[128];

	snprintf(url, sizeof(url), "nats://%s", server);
	if (natsConnection_ConnectTo(&nats, url) != NATS_OK)
		die("nats", "cannot connect");
}

static void nats_healthy(void)
{
	natsSubscription *subscription;
	natsMsg *message;

	nats_open();
	if (natsConnection_SubscribeSync(&subscription, nats, SUBJECT) != NATS_OK ||
	    natsSubscription_SetPendingLimits(subscription, -1, -1) != NATS_OK ||
	    natsConnection_Flush(nats) != NATS_OK)
		die("nats", "cannot subscribe");
	ledger->ready[0] = true;
	while (natsSubscription_NextMsg(&message, subscription, 3600000) == NATS_OK) {
		received(natsMsg_GetData(message));
		natsMsg_Destroy(message);
	}
}

static void nats_stalled(void)
{
	stall_by_hand("CONNECT {\"verbose\":false}\r\nSUB " SUBJECT " 1\r\n");
}

static void nats_publish(const void *message)
{
	if (natsConnection_Publish(nats, SUBJECT, message, SIZE) != NATS_OK)
		die("nats", "publish");
}

static void nats_flush(void)
{
}

/* ---- Redis: hiredis, a pipeline per tick ----------------------------------------------------- */

static redisContext *redis;
static unsigned redis_asked;

static void redis_open(void)
{
	char host[64];
	const char *colon = strrchr(server, ':');

	snprintf(host, sizeof(host), "%.*s", (int)(colon - server), server);
	redis = redisConnect(host, atoi(colon + 1));
	if (redis == NULL || redis->err)
		die("redis", "cannot connect");
}

static void redis_healthy(void)
{
	redisReply *reply = NULL;

	redis_open();
	freeReplyObject(redisCommand(redis, "SUBSCRIBE " SUBJECT));
	ledger->ready[0] = true;
	while (redisGetReply(redis, (void **)&reply) == REDIS_OK) {
		if (reply->elements == 3)
			received(reply->element[2]->str);
		freeReplyObject(reply);
	}
}

static void redis_stalled(void)
{
	stall_by_hand("SUBSCRIBE " SUBJECT "\r\n");
}

static void redis_publish(const void *message)
{
	redisAppendCommand(redis, "PUBLISH " SUBJECT " %b", message, (size_t)SIZE);
	redis_asked++;
}

static void redis_flush(void)
{
	redisReply *reply;

	for (; redis_asked > 0; redis_asked--) {
		if (redisGetReply(redis, (void **)&reply) != REDIS_OK)
			die("redis", redis->errstr);
		freeReplyObject(reply);
	}
}

/* ---- runs ------------------------------------------------------------------------------------ */

static const struct kind {
	const char *name;
	void (*healthy)(void), (*stalled)(void), (*publisher)(void);
	void (*publish)(const void *message);
	void (*flush)(void);
} kinds[] = {
	{"xylem", xylem_healthy, xylem_stalled, xylem_publisher, xylem_publish, xylem_flush},
	{"nats", nats_healthy, nats_stalled, nats_open, nats_publish, nats_flush},
	{"redis", redis_healthy, redis_stalled, redis_open, redis_publish, redis_flush},
};

static pid_t start(void (*body)(void), unsigned which)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body();
		_exit(1);
	}
	while (!ledger->ready[which])
		if (waitpid(pid, NULL, WNOHANG) == pid)
			die("a subscriber", "ended before it was ready");
	return pid;
}

struct result {
	uint64_t in_time, sent, longest_ns;
	unsigned stalls; /* longer than STALL_NS */
};

/* In a process of its own: every run has a fresh connection. */
static void publish_run(const struct kind *kind, unsigned seconds, struct result *result)
{
	uint8_t message[SIZE] = {0};
	uint64_t begin, planned, end, done;
	struct stamp stamp = {0};

	kind->publisher();
	begin = planned = now_ns();
	end = begin + seconds * 1000000000ull;
	for (; planned < end; planned += TICK_NS) {
		while (now_ns() < planned) {
			struct timespec rest = {.tv_nsec = (long)(planned - now_ns()) % TICK_NS};

			nanosleep(&rest, NULL);
		}
		done = now_ns();
		for (unsigned m = 0; m < A_TICK; m++) {
			stamp.sequence++;
			stamp.planned_ns = planned;
			memcpy(message, &stamp, sizeof(stamp));
			kind->publish(message);
		}
		kind->flush();
		done = now_ns() - done;
		if (done > result->longest_ns)
			result->longest_ns = done;
		result->stalls += done > STALL_NS;
		if (now_ns() < end)
			result->in_time += A_TICK;
		result->sent += A_TICK;
	}
}

/* Open descriptors of the server: one less when it has closed a connection. */
static unsigned descriptors(int pid)
{
	struct dirent *entry;
	unsigned count = 0;
	char path[64];
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	directory = opendir(path);
	while (directory && (entry = readdir(directory)))
		count++;
	if (directory)
		closedir(directory);
	return count;
}

/* Until the publisher ends. Returns when the server had cut a connection, ns; 0 = it has not before
 * `end_ns`, when the publisher may leave by itself. */
static uint64_t watch(pid_t publisher, int pid, uint64_t end_ns)
{
	unsigned most = 0, now;
	uint64_t cut = 0;

	while (waitpid(publisher, NULL, WNOHANG) == 0) {
		now = descriptors(pid);
		if (now < most && !cut && now_ns() < end_ns)
			cut = now_ns();
		if (now > most)
			most = now;
		usleep(10000);
	}
	return cut;
}

static unsigned long peak_kib(int pid)
{
	char line[256];
	unsigned long kib = 0;
	FILE *file;

	snprintf(line, sizeof(line), "/proc/%d/status", pid);
	file = pid ? fopen(line, "re") : NULL;
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "VmHWM: %lu", &kib);
	if (file)
		fclose(file);
	return kib;
}

/* Returns after how many ns the server cut a connection; 0 = never. */
static uint64_t run(const struct kind *kind, unsigned seconds, int pid, bool with,
		    struct result *result)
{
	uint64_t begin = now_ns(), before = UINT64_MAX, cut;
	pid_t healthy, stalled = 0, publisher;

	memset(ledger, 0, sizeof(*ledger));
	memset(result, 0, sizeof(*result));
	healthy = start(kind->healthy, 0);
	if (with)
		stalled = start(kind->stalled, 1);
	publisher = fork();
	if (publisher == 0) {
		publish_run(kind, seconds, result);
		usleep(SETTLE_MS * 1000); /* a library may still have to send */
		_exit(0);
	}
	cut = watch(publisher, pid, begin + seconds * 1000000000ull);
	while (ledger->received != before && ledger->received < result->sent) {
		before = ledger->received;
		usleep(SETTLE_MS * 1000);
	}
	kill(healthy, SIGKILL);
	waitpid(healthy, NULL, 0);
	if (stalled) {
		kill(stalled, SIGKILL);
		waitpid(stalled, NULL, 0);
	}
	return cut ? cut - begin : 0;
}

/* ---- judging --------------------------------------------------------------------------------- */

static bool too_much(const char *name, const char *figure, const char *unit, double is, double most)
{
	if (is <= most)
		return false;
	fprintf(stderr, "stalled: MISSED: %s: %s: %.1f%s, promised at most %.0f%s\n", name, figure,
		is, unit, most, unit);
	return true;
}

static bool misses(const char *name, const struct result *result)
{
	bool blocks = !strcmp(policy, "block"), missed;

	missed = too_much(name, "longest stall of the publisher", " ms",
			  (double)result->longest_ns / 1e6,
			  (double)(blocks ? BLOCK_NS : STALL_NS) / 1e6);
	missed |= too_much(name, "stalls of the publisher", "", result->stalls, blocks);
	missed |= too_much(name, "worst latency of the healthy one", " ms",
			   (double)ledger->worst_ns / 1e6,
			   (double)(blocks ? BLOCK_NS : LATENCY_NS) / 1e6);
	missed |= too_much(name, "messages lost by the healthy one", "",
			   (double)(result->sent - ledger->received), 0);
	return missed;
}

int main(int argc, char **argv)
{
	const struct kind *kind = NULL;
	struct result *result;
	uint64_t alone, cut_ns;
	unsigned seconds;
	char cut[32] = "never";
	bool judge = argc > 1 && !strcmp(argv[1], "--judge");
	int pid;

	argv += judge;
	argc -= judge;
	if (argc < 6 + judge) {
		fprintf(stderr, "usage: stalled [--judge] SECONDS PID NAME KIND SERVER [POLICY]\n");
		return 2;
	}
	seconds = (unsigned)atoi(argv[1]);
	pid = atoi(argv[2]);
	server = argv[5];
	policy = argc > 6 ? argv[6] : NULL;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		if (!strcmp(kinds[k].name, argv[4]))
			kind = &kinds[k];
	if (!kind)
		die(argv[4], "not xylem, nats or redis");
	ledger = mmap(NULL, sizeof(*ledger) + sizeof(*result), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	result = (struct result *)(ledger + 1);
	signal(SIGPIPE, SIG_IGN);

	run(kind, seconds, pid, false, result);
	alone = result->in_time;
	cut_ns = run(kind, seconds, pid, true, result);
	if (cut_ns)
		snprintf(cut, sizeof(cut), "%.1f s", (double)cut_ns / 1e9);
	printf("%-28s %8lu %8lu %10.1f ms %10.1f ms %8ld %9s %8lu KiB\n", argv[3],
	       (unsigned long)alone, (unsigned long)result->in_time,
	       (double)result->longest_ns / 1e6, (double)ledger->worst_ns / 1e6,
	       (long)(result->sent - ledger->received), cut, peak_kib(pid));
	return judge && misses(argv[3], result);
}
