/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <xylem/wire.h>

#include "base/clock.h"
#include "kernel/internal.h"
#include "xylem.skel.h"

void xy_why(char *why, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, size, format, arguments);
	va_end(arguments);
}

struct xy_listener xy_kernel_listener(const struct sockaddr *address)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	struct xy_listener listener = {.family = address->sa_family};

	if (listener.family == AF_INET) {
		listener.port = ntohs(v4->sin_port);
		listener.addr[0] = v4->sin_addr.s_addr;
	} else {
		listener.port = ntohs(v6->sin6_port);
		memcpy(listener.addr, &v6->sin6_addr, sizeof(listener.addr));
	}
	return listener;
}

static size_t sessions_size(const struct xy_kernel *kernel)
{
	return kernel->slots.size * sizeof(struct xy_session);
}

static int map_memory(const struct bpf_map *map, size_t size, void **ret_memory, char *why,
		      size_t why_size)
{
	void *memory;
	int error;

	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (memory == MAP_FAILED) {
		error = -errno;
		xy_why(why, why_size, "array %s cannot be mapped: %s", bpf_map__name(map),
		       strerror(-error));
		return error;
	}
	*ret_memory = memory;
	return 0;
}

static int pressure_mark(void *context, void *data, size_t size)
{
	struct xy_kernel *kernel = context;

	if (size >= sizeof(struct xy_pressure))
		kernel->mark(data, kernel->mark_context);
	return 0;
}

static void control_fill(struct xy_kernel *kernel, const struct xy_kernel_options *options)
{
	struct xy_control *control = kernel->control;

	for (uint32_t i = 0; i < options->listeners; i++)
		control->listener[i] = options->listener[i];
	control->listeners = options->listeners;
	control->slots = kernel->slots.size;
	control->pid = (uint32_t)getpid();
	control->max_message = options->max_message ? options->max_message : XY_MESSAGE_MAX_DEFAULT;
	xy_kernel_beat(kernel);
	xy_kernel_redirect_switch(kernel, true);
	xy_kernel_meter(kernel, UINT64_MAX);
}

int xy_population_attach(struct xy_kernel *kernel, int cgroup)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL); /* the caller tells */
	struct bpf_link *link;
	int error;

	link = bpf_program__attach_cgroup(kernel->bpf->progs.client_established, cgroup);
	error = link ? 0 : -errno;
	libbpf_set_print(print);
	kernel->population = link;
	return error;
}

static void descriptors_note(struct xy_kernel *kernel)
{
	const struct xylem_bpf *bpf = kernel->bpf;

	kernel->claims_fd = bpf_map__fd(bpf->maps.claims);
	kernel->flows_fd = bpf_map__fd(bpf->maps.flows);
	kernel->lane_of_fd = bpf_map__fd(bpf->maps.lane_of);
	kernel->proxy_sockets_fd = bpf_map__fd(bpf->maps.proxy_sockets);
	kernel->client_sockets_fd = bpf_map__fd(bpf->maps.client_sockets);
	kernel->lanes_fd = bpf_map__fd(bpf->maps.lanes);
	kernel->flows = bpf_map__max_entries(bpf->maps.flows);
}

static int cgroup_open(struct xy_kernel *kernel, const char *wanted, int *ret_fd, char *why,
		       size_t why_size)
{
	int error = xy_cgroup_choose("", wanted, kernel->cgroup, kernel->cgroup_why,
				     sizeof(kernel->cgroup_why));

	if (error) {
		xy_why(why, why_size, "%s", kernel->cgroup_why);
		return error;
	}
	return xy_cgroup_open(kernel->cgroup, ret_fd, kernel->cgroup, why, why_size);
}

static int arrays_map(struct xy_kernel *kernel, char *why, size_t why_size)
{
	int error = xy_slots_open(&kernel->slots, bpf_map__max_entries(kernel->bpf->maps.sessions));

	if (error) {
		xy_why(why, why_size, "out of memory");
		return error;
	}
	error = map_memory(kernel->bpf->maps.control, sizeof(*kernel->control),
			   (void **)&kernel->control, why, why_size);
	if (error)
		goto err_slots;
	error = map_memory(kernel->bpf->maps.sessions, sessions_size(kernel),
			   (void **)&kernel->session, why, why_size);
	if (error)
		goto err_control;
	return 0;
err_control:
	munmap(kernel->control, sizeof(*kernel->control));
err_slots:
	xy_slots_close(&kernel->slots);
	return error;
}

static void arrays_unmap(struct xy_kernel *kernel)
{
	munmap(kernel->session, sessions_size(kernel));
	munmap(kernel->control, sizeof(*kernel->control));
	xy_slots_close(&kernel->slots);
}

static int population_open(struct xy_kernel *kernel, int cgroup, char *why, size_t why_size)
{
	int error = xy_population_attach(kernel, cgroup);

	/* Also where another agent has attached alone: neither BPF_F_ALLOW_MULTI here nor
	 * BPF_F_ALLOW_OVERRIDE above. */
	if (error)
		xy_why(why, why_size, "cannot attach: %s%s; cgroup %s", strerror(-error),
		       error == -EPERM ? "; needs CAP_NET_ADMIN, and no sock_ops program of "
					 "another agent that tolerates none beside it"
				       : "",
		       kernel->cgroup);
	return error;
}

int xy_kernel_open(const struct xy_kernel_options *options, struct xy_kernel **ret_kernel,
		   char *why, size_t why_size)
{
	enum xy_kernel_step unasked, *step = options->ret_step ? options->ret_step : &unasked;
	struct xy_kernel *kernel;
	int cgroup = -1, error;

	*step = XY_STEP_CGROUP;
	if (!options->instance || options->listeners > XY_LISTENERS_MAX) {
		xy_why(why, why_size, "an instance has a name and at most %d plain-TCP listeners",
		       XY_LISTENERS_MAX);
		return -EINVAL;
	}
	kernel = calloc(1, sizeof(*kernel));
	if (!kernel) {
		xy_why(why, why_size, "out of memory");
		return -ENOMEM;
	}
	kernel->window = options->window;
	error = options->detached ? 0
				  : cgroup_open(kernel, options->cgroup, &cgroup, why, why_size);
	if (error)
		goto err_free;
	*step = XY_STEP_PROGRAMS;
	error = xy_load(options, &kernel->bpf, why, why_size);
	if (error)
		goto err_cgroup;
	descriptors_note(kernel);

	*step = XY_STEP_ARRAYS;
	error = arrays_map(kernel, why, why_size);
	if (error)
		goto err_bpf;
	*step = XY_STEP_RING;
	kernel->ring = ring_buffer__new(bpf_map__fd(kernel->bpf->maps.pressure), pressure_mark,
					kernel, NULL);
	if (!kernel->ring) {
		error = -errno;
		xy_why(why, why_size, "ring buffer: %s", strerror(-error));
		goto err_arrays;
	}
	*step = XY_STEP_GRACE;
	error = xy_grace_open(&kernel->grace, true);
	if (error) {
		xy_why(why, why_size, "no way to wait for running programs: %s", strerror(-error));
		goto err_ring;
	}
	control_fill(kernel, options);
	*step = XY_STEP_TRIAL;
	error = options->trial ? xy_trial(kernel, kernel->cgroup, why, why_size) : 0;
	if (error)
		goto err_grace;
	*step = XY_STEP_POPULATION;
	error = options->detached ? 0 : population_open(kernel, cgroup, why, why_size);
	if (error)
		goto err_grace;
	xy_pins_make(&kernel->pins, options->bpffs, options->instance, kernel->bpf);
	if (cgroup >= 0)
		close(cgroup);
	*step = XY_STEP_DONE;
	if (why_size)
		why[0] = '\0';
	*ret_kernel = kernel;
	return 0;

err_grace:
	xy_grace_close(&kernel->grace);
err_ring:
	ring_buffer__free(kernel->ring);
err_arrays:
	arrays_unmap(kernel);
err_bpf:
	xylem_bpf__destroy(kernel->bpf);
err_cgroup:
	if (cgroup >= 0)
		close(cgroup);
err_free:
	free(kernel);
	return error;
}

void xy_kernel_withdraw(struct xy_kernel *kernel)
{
	bpf_link__destroy(kernel->population);
	/* Programs and maps live on through the clients' sockets (K12): let them pass everything.
	 */
	xy_kernel_redirect_switch(kernel, false);
	__atomic_store_n(&kernel->control->heartbeat, 0, __ATOMIC_RELAXED);
	xy_pins_remove(&kernel->pins);
}

void xy_kernel_close(struct xy_kernel *kernel)
{
	if (!kernel)
		return;
	xy_kernel_withdraw(kernel);
	xy_grace_close(&kernel->grace);
	ring_buffer__free(kernel->ring);
	arrays_unmap(kernel);
	xylem_bpf__destroy(kernel->bpf);
	free(kernel);
}

void xy_kernel_unpin(struct xy_kernel *kernel)
{
	xy_pins_remove(&kernel->pins);
}

int xy_kernel_usable(const struct xy_kernel *kernel)
{
	const uint64_t nobody = 0;
	int error = bpf_map_delete_elem(kernel->claims_fd, &nobody);

	return error == -ENOENT ? 0 : error;
}

const char *xy_kernel_cgroup(const struct xy_kernel *kernel)
{
	return kernel->cgroup;
}

const char *xy_kernel_cgroup_why(const struct xy_kernel *kernel)
{
	return kernel->cgroup_why;
}

const char *xy_kernel_pins(const struct xy_kernel *kernel)
{
	return kernel->pins.directory[0] ? kernel->pins.directory : NULL;
}

const char *xy_kernel_pins_why(const struct xy_kernel *kernel)
{
	return kernel->pins.why;
}

uint32_t xy_kernel_slots(const struct xy_kernel *kernel)
{
	return kernel->slots.size;
}

uint32_t xy_kernel_flows(const struct xy_kernel *kernel)
{
	return kernel->flows;
}

uint64_t xy_kernel_sockets_left(const struct xy_kernel *kernel)
{
	return __atomic_load_n(&kernel->control->sockets_left, __ATOMIC_RELAXED);
}

const struct xy_control *xy_kernel_control(const struct xy_kernel *kernel)
{
	return kernel->control;
}

const char *xy_kernel_untried(const struct xy_kernel *kernel)
{
	return kernel->untried;
}

void xy_kernel_beat(struct xy_kernel *kernel)
{
	__atomic_store_n(&kernel->control->heartbeat, xy_clock_ns(), __ATOMIC_RELAXED);
}

void xy_kernel_redirect_switch(struct xy_kernel *kernel, bool on)
{
	__atomic_store_n(&kernel->control->redirect, on, __ATOMIC_RELAXED);
}

void xy_kernel_meter(struct xy_kernel *kernel, uint64_t bytes)
{
	struct xy_control *control = kernel->control;
	uint64_t now = __atomic_load_n(&control->metered, __ATOMIC_RELAXED);
	bool none = bytes > UINT64_MAX - now;

	__atomic_store_n(&control->meter_mark, none ? UINT64_MAX : now + bytes / 2,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&control->meter_limit, none ? UINT64_MAX : now + bytes, __ATOMIC_RELAXED);
}

void xy_kernel_grace(struct xy_kernel *kernel)
{
	xy_grace_wait(&kernel->grace);
}

int xy_kernel_pressure_fd(const struct xy_kernel *kernel)
{
	return ring_buffer__epoll_fd(kernel->ring);
}

int xy_kernel_pressure_read(struct xy_kernel *kernel,
			    void (*mark)(const struct xy_pressure *pressure, void *context),
			    void *context)
{
	int read;

	kernel->mark = mark;
	kernel->mark_context = context;
	read = ring_buffer__consume(kernel->ring);
	return read < 0 ? read : 0;
}
