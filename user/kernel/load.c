/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/bytes.h"
#include "kernel/internal.h"
#include "xylem.skel.h"

#define SLOTS_DEFAULT 4096
#define SLOTS_MINIMUM 64
#define FLOWS_DEFAULT 16384
#define FLOWS_MINIMUM 256
#define RETRY_MS      50

/* libbpf tells by its log only what failed; this keeps the first line that says so. */
static __thread char libbpf_said[256];

static int libbpf_listen(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char line[sizeof(libbpf_said)];
	size_t length;

	if (level != LIBBPF_WARN || libbpf_said[0])
		return 0;
	vsnprintf(line, sizeof(line), format, arguments);
	length = strcspn(line, "\n");
	line[length] = '\0';
	if (strstr(line, "fail") || strstr(line, "rror"))
		memcpy(libbpf_said, line, length + 1);
	return 0;
}

/* Before 5.11 maps and programs are locked memory. Whether it helps, loading tells. */
static void memlock_raise(void)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	if (setrlimit(RLIMIT_MEMLOCK, &limit) == 0 || getrlimit(RLIMIT_MEMLOCK, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_MEMLOCK, &limit);
}

static int maps_resize(struct xylem_bpf *bpf, uint32_t slots, uint32_t flows)
{
	/* Clients that never become lanes are in the sockmaps, too. */
	uint32_t clients = slots > UINT32_MAX / 2 ? UINT32_MAX : 2 * slots;
	struct {
		struct bpf_map *map;
		uint32_t entries;
	} sizes[] = {
		{bpf->maps.client_sockets, clients}, {bpf->maps.lanes, clients},
		{bpf->maps.proxy_sockets, slots},    {bpf->maps.claims, slots},
		{bpf->maps.sessions, slots},         {bpf->maps.flows, flows},
	};
	int error = 0;

	for (size_t i = 0; !error && i < XY_ARRAY_SIZE(sizes); i++)
		error = bpf_map__set_max_entries(sizes[i].map, sizes[i].entries);
	return error;
}

/* A socket takes over the program that its map has when it goes in, so these come first. */
static int verdicts_attach(const struct xylem_bpf *bpf)
{
	int error;

	error = bpf_prog_attach(bpf_program__fd(bpf->progs.client_verdict),
				bpf_map__fd(bpf->maps.client_sockets), BPF_SK_MSG_VERDICT, 0);
	if (error)
		return error;
	return bpf_prog_attach(bpf_program__fd(bpf->progs.proxy_verdict),
			       bpf_map__fd(bpf->maps.proxy_sockets), BPF_SK_MSG_VERDICT, 0);
}

static int load_sized(uint32_t slots, uint32_t flows, struct xylem_bpf **ret_bpf)
{
	struct xylem_bpf *bpf;
	int error;

	libbpf_said[0] = '\0';
	bpf = xylem_bpf__open();
	if (!bpf)
		return -errno;
	error = maps_resize(bpf, slots, flows);
	if (!error)
		error = xylem_bpf__load(bpf);
	if (!error)
		error = verdicts_attach(bpf);
	if (error) {
		xylem_bpf__destroy(bpf);
		return error;
	}
	*ret_bpf = bpf;
	return 0;
}

static void explain(int error, char *why, size_t why_size)
{
	char missing[64], advice[128] = "";

	/* Without CAP_PERFMON it is the verifier that refuses, with EACCES. */
	if (*xy_rights_missing(missing, sizeof(missing)))
		snprintf(advice, sizeof(advice), "; needs root or %s", missing);
	else if (error == -EPERM)
		snprintf(advice, sizeof(advice),
			 "; before Linux 5.11 that is also a low RLIMIT_MEMLOCK");
	else if (error == -ENOMEM)
		snprintf(advice, sizeof(advice), "; give it more memory or fewer slots and flows");
	/* The advice first: what libbpf says is long and cut off. */
	xy_why(why, why_size, "kernel programs cannot be loaded: %s%s%s%s", strerror(-error),
	       advice, libbpf_said[0] ? "; " : "", libbpf_said);
}

int xy_load(const struct xy_kernel_options *options, struct xylem_bpf **ret_bpf, char *why,
	    size_t why_size)
{
	libbpf_print_fn_t print = libbpf_set_print(libbpf_listen);
	uint32_t slots = options->slots ? options->slots : SLOTS_DEFAULT;
	uint32_t flows = options->flows ? options->flows : FLOWS_DEFAULT;
	int error;

	memlock_raise();
	/* Too little lockable memory shows as EPERM. */
	while ((error = load_sized(slots, flows, ret_bpf)) == -EPERM || error == -ENOMEM) {
		if (slots <= SLOTS_MINIMUM && flows <= FLOWS_MINIMUM)
			break;
		if (slots > SLOTS_MINIMUM)
			slots = xy_max(slots / 2, (uint32_t)SLOTS_MINIMUM);
		if (flows > FLOWS_MINIMUM)
			flows = xy_max(flows / 2, (uint32_t)FLOWS_MINIMUM);
		/* What the last attempt had locked is given back a little later. */
		poll(NULL, 0, RETRY_MS);
	}
	if (error)
		explain(error, why, why_size);
	libbpf_set_print(print);
	return error;
}
