/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the kernel side share.
 */
#ifndef XY_KERNEL_INTERNAL_H
#define XY_KERNEL_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"

struct bpf_link;
struct ring_buffer;
struct xylem_bpf;

/* ---- cgroup.c ---- */

/* The cgroup v2 directory that `wanted` stands for: "pid:N", "pod:UID", "container:ID", "all"
 * or a directory, which is not looked at; NULL: the pod that this process runs in, or else "all":
 * the root of the widest v2 mount. `root` stands in front of every path that is read: "" for the
 * machine. In why: for what reason this one, or why none (-ENOENT, -EINVAL, -ENAMETOOLONG). */
int xy_cgroup_choose(const char *root, const char *wanted, char ret_path[PATH_MAX], char *why,
		     size_t why_size);
/* Chooses and opens. -ENOENT, -ENOTDIR, -EINVAL: is none. ret_path has PATH_MAX bytes. */
int xy_cgroup_open(const char *path, int *ret_fd, char *ret_path, char *why, size_t why_size);

/* ---- grace.c ---- */

/* Two ways to wait until all program runs are over that had started before. */
struct xy_grace {
	bool membarrier;
	int outer, inner; /* a map in a map, where membarrier is refused; else -1 */
};

int xy_grace_open(struct xy_grace *grace, bool membarrier);
void xy_grace_close(struct xy_grace *grace);
void xy_grace_wait(const struct xy_grace *grace);

/* ---- load.c ---- */

/* Programs and maps of the wanted sizes, or of smaller ones where memory may not be locked; sk_msg
 * programs are attached to their maps. */
int xy_load(const struct xy_kernel_options *options, struct xylem_bpf **ret_bpf, char *why,
	    size_t why_size);

/* ---- pins.c ---- */

/* A directory below a bpffs with the data maps of an instance. */
struct xy_pins {
	char directory[PATH_MAX]; /* "" = unpinned, and … */
	char why[256];            /* … this is why */
};

void xy_pins_make(struct xy_pins *pins, const char *bpffs, const char *instance,
		  const struct xylem_bpf *bpf);
void xy_pins_remove(struct xy_pins *pins);

/* ---- rights.c ---- */

/* "CAP_BPF, CAP_NET_ADMIN": those of the needed ones that this thread does not have; "" = none.
 * Returns the buffer. */
const char *xy_rights_missing(char *buffer, size_t size);

/* ---- slots.c ---- */

enum xy_slot_use {
	XY_SLOT_FREE,
	XY_SLOT_USED,
	XY_SLOT_RETIRED, /* waits for its grace period */
};

struct xy_slots {
	pthread_mutex_t lock;
	uint32_t size;
	uint32_t *free; /* a ring of the free ones, the one that has been free longest first */
	uint32_t head, count;
	uint8_t *use; /* enum xy_slot_use, by slot */
};

int xy_slots_open(struct xy_slots *slots, uint32_t size);
void xy_slots_close(struct xy_slots *slots);

/* ---- kernel.c ---- */

struct xy_kernel {
	struct xylem_bpf *bpf;
	struct bpf_link *population; /* sock_ops on the cgroup */
	struct ring_buffer *ring;
	struct xy_control *control;
	struct xy_session *session;
	struct xy_slots slots;
	struct xy_grace grace;
	struct xy_pins pins;
	uint64_t window;
	uint32_t flows;
	int claims_fd, flows_fd, lane_of_fd, proxy_sockets_fd, client_sockets_fd, lanes_fd;
	char cgroup[PATH_MAX], cgroup_why[256];
	char untried[256];
	void (*mark)(const struct xy_pressure *pressure, void *context); /* of the current read */
	void *mark_context;
};

/* sock_ops on this cgroup, as long as the kernel side is open. */
int xy_population_attach(struct xy_kernel *kernel, int cgroup);

__attribute__((format(printf, 3, 4))) void xy_why(char *why, size_t size, const char *format, ...);

/* ---- trial.c ---- */

/* What lanes rest on, done once with the programs and maps of this kernel side, by a child process
 * in a place of its own below this cgroup. Leaves the maps as they were. -EOPNOTSUPP: something
 * did not work, why has a sentence; else kernel->untried is filled in. */
int xy_trial(struct xy_kernel *kernel, const char *cgroup, char *why, size_t why_size);

#endif
