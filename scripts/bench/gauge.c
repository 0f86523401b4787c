/* SPDX-License-Identifier: BSD-2-Clause */
#include "gauge.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#define MAPS_MAX 16

uint64_t cpu_ns(int pid)
{
	struct timespec time;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &time)) {
		fprintf(stderr, "there is no process %d\n", pid);
		exit(1);
	}
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Adds up what stands behind `key` in a file of "key: number" lines. */
static uint64_t file_sum(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	unsigned long long value;
	uint64_t sum = 0;
	char line[256];

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)) &&
		    sscanf(line + strlen(key), " %llu", &value) == 1)
			sum += value;
	fclose(file);
	return sum;
}

uint64_t memory_of(int pid)
{
	char directory_path[64], path[400];
	const struct dirent *entry;
	DIR *directory;
	uint64_t sum;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	sum = file_sum(path, "Rss:") * 1024;
	snprintf(directory_path, sizeof(directory_path), "/proc/%d/fdinfo", pid);
	directory = opendir(directory_path);
	while (directory && (entry = readdir(directory))) {
		snprintf(path, sizeof(path), "%s/%s", directory_path, entry->d_name);
		if (file_sum(path, "map_type:"))
			sum += file_sum(path, "memlock:");
	}
	if (directory)
		closedir(directory);
	return sum;
}

static uint32_t map_id(const char *instance)
{
	char path[256];
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);
	int fd;

	snprintf(path, sizeof(path), "/sys/fs/bpf/xylem/%s/sessions", instance);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return 0;
	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		info.id = 0;
	close(fd);
	return info.id;
}

static int uses(int program, uint32_t map)
{
	uint32_t maps[MAPS_MAX];
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)maps};
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(program, &info, &size) ||
	    strcmp(info.name, "client_verdict") != 0)
		return 0;
	for (uint32_t m = 0; m < info.nr_map_ids && m < MAPS_MAX; m++)
		if (maps[m] == map)
			return 1;
	return 0;
}

void verdict_open(struct verdict *verdict, const char *instance)
{
	uint32_t map = map_id(instance), id = 0;

	*verdict = (struct verdict){.program = -1, .stats = -1};
	while (map && verdict->program < 0 && !bpf_prog_get_next_id(id, &id)) {
		verdict->program = bpf_prog_get_fd_by_id(id);
		if (verdict->program >= 0 && !uses(verdict->program, map)) {
			close(verdict->program);
			verdict->program = -1;
		}
	}
	if (verdict->program >= 0)
		verdict->stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
}

void verdict_close(struct verdict *verdict)
{
	if (verdict->program >= 0)
		close(verdict->program);
	if (verdict->stats >= 0)
		close(verdict->stats);
	*verdict = (struct verdict){.program = -1, .stats = -1};
}

struct verdict_mark verdict_mark(const struct verdict *verdict)
{
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);

	if (verdict->program < 0 || bpf_obj_get_info_by_fd(verdict->program, &info, &size))
		return (struct verdict_mark){0};
	return (struct verdict_mark){.ns = info.run_time_ns, .runs = info.run_cnt};
}

double verdict_ns(const struct verdict *verdict, struct verdict_mark since)
{
	struct verdict_mark now = verdict_mark(verdict);

	return now.runs > since.runs ? (double)(now.ns - since.ns) / (double)(now.runs - since.runs)
				     : 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), compare);
	return count ? values[count / 2] : 0;
}
