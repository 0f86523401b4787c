/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/sessions.h"

#include <bpf/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct sessions {
	struct xy_session *session;
	uint32_t count;
};

static int map_open(const struct proxy *proxy, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/fs/bpf/xylem/%s/%s", proxy_instance(proxy), name);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	return fd;
}

struct sessions *sessions_open(const struct proxy *proxy)
{
	struct bpf_map_info info = {0};
	uint32_t length = sizeof(info);
	struct sessions *sessions;
	int fd;

	if (proxy_kernel_path(proxy) == KERNEL_PATH_OFF)
		return NULL;
	fd = map_open(proxy, "sessions");
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
	assert_int_equal(info.value_size, sizeof(struct xy_session));
	sessions = calloc(1, sizeof(*sessions));
	assert_non_null(sessions);
	sessions->count = info.max_entries;
	sessions->session = mmap(NULL, sessions->count * sizeof(struct xy_session), PROT_READ,
				 MAP_SHARED, fd, 0);
	assert_true(sessions->session != MAP_FAILED);
	close(fd);
	return sessions;
}

void sessions_close(struct sessions *sessions)
{
	if (sessions == NULL)
		return;
	munmap(sessions->session, sessions->count * sizeof(struct xy_session));
	free(sessions);
}

const struct xy_session *sessions_of(const struct sessions *sessions, uint64_t endpoint)
{
	if (sessions == NULL)
		return NULL;
	for (uint32_t s = 0; s < sessions->count; s++) {
		const struct xy_session *session = &sessions->session[s];

		if (__atomic_load_n(&session->state, __ATOMIC_ACQUIRE) == XY_SESSION_LIVE &&
		    session->endpoint == endpoint)
			return session;
	}
	fail_msg("no lane has the endpoint %016lx", (unsigned long)endpoint);
	return NULL;
}

unsigned sessions_used(const struct sessions *sessions)
{
	unsigned used = 0;

	for (uint32_t s = 0; sessions != NULL && s < sessions->count; s++)
		used += __atomic_load_n(&sessions->session[s].state, __ATOMIC_RELAXED) !=
			XY_SESSION_FREE;
	return used;
}

unsigned flows_used(const struct proxy *proxy)
{
	struct xy_flow_key key, *before = NULL;
	unsigned used = 0;
	int fd;

	if (proxy_kernel_path(proxy) == KERNEL_PATH_OFF)
		return 0;
	fd = map_open(proxy, "flows");
	for (; bpf_map_get_next_key(fd, before, &key) == 0; before = &key)
		used++;
	close(fd);
	return used;
}
