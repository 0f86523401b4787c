/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What connections cost that do nothing: each has said HELLO and SYNC and subscribes to a subject
 * of its own. Measured from outside: resident memory of the proxy, and the memory of its BPF maps
 * as the kernel tells it.
 *
 * Environment: CONNECTIONS is how many.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/proxy.h"
#include "common/raw.h"
#include "common/status.h"

#define CONNECTIONS 2000
#define BYTES_MAX   2304 /* of one connection; 2.5 KiB are promised */
#define STATUS_MAX  (1 << 20)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEASURES 0 /* a sanitizer's memory says nothing about ours */
#else
#define MEASURES 1
#endif

struct memory {
	uint64_t resident, maps; /* bytes */
};

/* Adds up what stands behind `key` in a file of "key: number" lines. */
static uint64_t file_sum(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	unsigned long long value;
	uint64_t sum = 0;
	char line[256];

	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, key, strlen(key)) == 0 &&
		    sscanf(line + strlen(key), " %llu", &value) == 1)
			sum += value;
	fclose(file);
	return sum;
}

static struct memory memory_of(const struct proxy *proxy)
{
	struct memory memory = {0};
	char directory_path[64], path[400];
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", proxy_pid(proxy));
	memory.resident = file_sum(path, "Rss:") * 1024;
	assert_int_not_equal(memory.resident, 0);
	snprintf(directory_path, sizeof(directory_path), "/proc/%d/fdinfo", proxy_pid(proxy));
	directory = opendir(directory_path);
	assert_non_null(directory);
	for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		snprintf(path, sizeof(path), "%s/%s", directory_path, entry->d_name);
		if (file_sum(path, "map_type:") != 0)
			memory.maps += file_sum(path, "memlock:");
	}
	closedir(directory);
	return memory;
}

static unsigned count_wanted(void)
{
	const char *text = getenv("CONNECTIONS");

	return text != NULL ? (unsigned)strtoul(text, NULL, 10) : CONNECTIONS;
}

/* However many there are: a status is made piece by piece. */
static void a_look_at_them_costs_little(struct proxy *proxy, unsigned count, uint64_t before)
{
	uint64_t after;

	for (int i = 0; i < 3; i++) {
		json_t *status = status_take_whole(proxy);

		assert_int_equal(json_array_size(json_object_get(status, "connections")), count);
		json_decref(status);
	}
	after = memory_of(proxy).resident;
	print_message("%u idle connections, after a status: resident %lu -> %lu KiB\n", count,
		      (unsigned long)before / 1024, (unsigned long)after / 1024);
	if (MEASURES)
		assert_true(after < before + STATUS_MAX);
}

static void connections_cost_little(struct proxy *proxy, const char *kind,
				    struct raw *(*open)(const struct proxy *proxy))
{
	unsigned count = count_wanted();
	struct memory before = memory_of(proxy), after;
	uint64_t each;

	for (unsigned c = 0; c < count; c++) {
		char subject[32];

		snprintf(subject, sizeof(subject), "idle.%u", c);
		raw_subscribe_to(open(proxy), subject);
	}
	after = memory_of(proxy);
	each = (after.resident + after.maps - before.resident - before.maps) / count;
	print_message("%u idle connections, %s: %lu bytes each; resident %lu -> %lu KiB, maps "
		      "%lu -> %lu KiB\n",
		      count, kind, (unsigned long)each, (unsigned long)before.resident / 1024,
		      (unsigned long)after.resident / 1024, (unsigned long)before.maps / 1024,
		      (unsigned long)after.maps / 1024);
	if (MEASURES)
		assert_in_range(each, 1, BYTES_MAX);
	a_look_at_them_costs_little(proxy, count, after.resident);
}

static struct proxy *running;

static int teardown(void **state)
{
	(void)state;
	raw_close_all();
	if (running != NULL)
		proxy_kill(running);
	running = NULL;
	return 0;
}

/* Each on a proxy of its own: memory that was used once is not always given back. */
static void measure(enum kernel_path path, const char *kind,
		    struct raw *(*open)(const struct proxy *proxy))
{
	running = proxy_start(path, NULL);
	if (running == NULL)
		skip();
	connections_cost_little(running, kind, open);
	raw_close_all();
	proxy_wait_idle(running);
	proxy_stop(running);
	running = NULL;
}

static void test_idle_lanes_cost_little(void **state)
{
	(void)state;
	measure(KERNEL_PATH_ON, "lanes", raw_open);
}

static void test_idle_tcp_connections_cost_little(void **state)
{
	(void)state;
	measure(KERNEL_PATH_OFF, "TCP without the kernel path", raw_open);
}

static void test_idle_unix_connections_cost_little(void **state)
{
	(void)state;
	measure(KERNEL_PATH_OFF, "UNIX sockets", raw_open_unix);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_idle_lanes_cost_little, teardown),
		cmocka_unit_test_teardown(test_idle_tcp_connections_cost_little, teardown),
		cmocka_unit_test_teardown(test_idle_unix_connections_cost_little, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
