/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of slots, flows, pins and of the kernel side as a whole.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <bpf/bpf.h>

#include "common/kernel_env.h"
#include "common/sandbox.h"
#include "kernel/internal.h"
#include "xylem.skel.h"

#define TOPIC 0x7000000000000001

/* ---- slots ----------------------------------------------------------------------------------- */

static void slot_end(struct env *env, struct xy_slot slot)
{
	xy_kernel_retire(env->kernel, slot);
	xy_kernel_recycle(env->kernel, slot);
}

static void the_slot_free_longest_is_taken_first(void **state)
{
	struct env *env = env_open(&(struct env_options){.slots = 64});
	struct xy_slot slot[64], again;

	(void)state;
	for (uint32_t i = 0; i < 64; i++) {
		assert_int_equal(xy_kernel_claim(env->kernel, 1000 + i, &slot[i]), 0);
		assert_int_equal(slot[i].slot, i);
	}
	assert_int_equal(xy_kernel_claim(env->kernel, 5000, &again), -ENOSPC);
	slot_end(env, slot[7]);
	slot_end(env, slot[3]);
	slot_end(env, slot[60]);
	assert_int_equal(xy_kernel_claim(env->kernel, 5000, &again), 0);
	assert_int_equal(again.slot, 7);
	assert_int_not_equal(again.generation, slot[7].generation);
	assert_int_equal(xy_kernel_claim(env->kernel, 5001, &again), 0);
	assert_int_equal(again.slot, 3);
	assert_int_equal(xy_kernel_claim(env->kernel, 5002, &again), 0);
	assert_int_equal(again.slot, 60);
	assert_int_equal(xy_kernel_claim(env->kernel, 5003, &again), -ENOSPC);
	env_close(env);
}

static void a_retired_slot_is_not_taken_before_it_is_recycled(void **state)
{
	struct env *env = env_open(&(struct env_options){.slots = 64});
	struct xy_slot slot[64], again;

	(void)state;
	for (uint32_t i = 0; i < 64; i++)
		assert_int_equal(xy_kernel_claim(env->kernel, 1000 + i, &slot[i]), 0);
	/* Without having been retired it is not recycled. */
	xy_kernel_recycle(env->kernel, slot[5]);
	assert_int_equal(xy_kernel_claim(env->kernel, 5000, &again), -ENOSPC);
	xy_kernel_retire(env->kernel, slot[5]);
	xy_kernel_retire(env->kernel, slot[5]);
	assert_int_equal(xy_kernel_claim(env->kernel, 5000, &again), -ENOSPC);
	xy_kernel_recycle(env->kernel, slot[5]);
	xy_kernel_recycle(env->kernel, slot[5]);
	assert_int_equal(xy_kernel_claim(env->kernel, 5000, &again), 0);
	assert_int_equal(again.slot, 5);
	assert_int_equal(xy_kernel_claim(env->kernel, 5001, &again), -ENOSPC);
	/* By an old generation neither. */
	xy_kernel_retire(env->kernel, slot[5]);
	xy_kernel_recycle(env->kernel, slot[5]);
	assert_int_equal(xy_kernel_session(env->kernel, 5)->state, XY_SESSION_CLAIMED);
	env_close(env);
}

static void generation_zero_is_never_used(void **state)
{
	struct env *env = env_open(&(struct env_options){.slots = 64});
	struct xy_slot slot;

	(void)state;
	xy_kernel_session(env->kernel, 0)->generation = UINT32_MAX;
	xy_kernel_session(env->kernel, 1)->generation = UINT32_MAX - 1;
	assert_int_equal(xy_kernel_claim(env->kernel, 1000, &slot), 0);
	assert_int_equal(slot.slot, 0);
	assert_int_equal(slot.generation, 1);
	assert_int_equal(xy_kernel_claim(env->kernel, 1001, &slot), 0);
	assert_int_equal(slot.slot, 1);
	assert_int_equal(slot.generation, UINT32_MAX);
	xy_kernel_retire(env->kernel, slot);
	assert_int_equal(xy_kernel_session(env->kernel, 1)->generation, 1);
	env_close(env);
}

static void a_recycled_session_is_as_new(void **state)
{
	struct env *env = env_open(NULL);
	struct xy_session empty = {0};
	struct client client;

	(void)state;
	client_open(env, &client);
	send_frame(&client, FRAME(.target = TOPIC, .payload = 4));
	xy_session_queued_add(client.session, 3);
	xy_session_ack(client.session, 60);
	client_close(env, &client);
	empty.generation = client.session->generation;
	assert_int_not_equal(empty.generation, client.slot.generation);
	assert_memory_equal(client.session, &empty, sizeof(empty));
	env_close(env);
}

static void a_claim_needs_an_endpoint_of_its_own(void **state)
{
	struct env *env = env_open(&(struct env_options){.slots = 64});
	struct xy_slot slot, second;

	(void)state;
	assert_int_equal(xy_kernel_claim(env->kernel, 1000, &slot), 0);
	assert_int_equal(xy_kernel_claim(env->kernel, 1000, &second), -EEXIST);
	for (uint32_t i = 1; i < 64; i++)
		assert_int_equal(xy_kernel_claim(env->kernel, 1000 + i, &second), 0);
	env_close(env);
}

/* ---- flows ----------------------------------------------------------------------------------- */

static void a_full_flow_table_says_so(void **state)
{
	struct env *env = env_open(&(struct env_options){.flows = 256});
	struct xy_flow flow = {.members = 1};

	(void)state;
	assert_int_equal(xy_kernel_flows(env->kernel), 256);
	for (uint64_t i = 0; i < 256; i++) {
		flow.key.target = i;
		assert_int_equal(xy_kernel_flow_put(env->kernel, &flow), 0);
	}
	assert_int_equal(xy_kernel_flow_put(env->kernel, &flow), 0);
	flow.key.target = 256;
	assert_int_equal(xy_kernel_flow_put(env->kernel, &flow), -ENOSPC);
	flow.key.target = 17;
	assert_int_equal(xy_kernel_flow_delete(env->kernel, &flow.key), 0);
	assert_int_equal(xy_kernel_flow_delete(env->kernel, &flow.key), -ENOENT);
	flow.key.target = 256;
	assert_int_equal(xy_kernel_flow_put(env->kernel, &flow), 0);
	flow.members = 0;
	assert_int_equal(xy_kernel_flow_put(env->kernel, &flow), -EINVAL);
	flow.members = XY_GROUP_MAX + 1;
	assert_int_equal(xy_kernel_flow_put(env->kernel, &flow), -EINVAL);
	env_close(env);
}

static void both_ways_to_wait_come_back(void **state)
{
	struct env *env = env_open(NULL);
	struct xy_grace grace;

	(void)state;
	xy_kernel_grace(env->kernel);
	assert_int_equal(xy_grace_open(&grace, false), 0);
	assert_false(grace.membarrier);
	xy_grace_wait(&grace);
	xy_grace_wait(&grace);
	xy_grace_close(&grace);
	env_close(env);
}

/* ---- pins ------------------------------------------------------------------------------------ */

static uint32_t files_in(const char *path)
{
	struct dirent *entry;
	uint32_t files = 0;
	DIR *directory = opendir(path);

	assert_non_null(directory);
	while ((entry = readdir(directory)))
		files += entry->d_name[0] != '.';
	closedir(directory);
	return files;
}

static void exactly_the_data_maps_are_pinned(void **state)
{
	static const char *const names[] = {"sessions", "flows", "control", "pressure"};
	struct env *env = env_open(NULL);
	char directory[PATH_MAX], path[2 * PATH_MAX];
	struct bpf_map_info info = {0};
	uint32_t length = sizeof(info);
	int fd;

	(void)state;
	assert_non_null(xy_kernel_pins(env->kernel));
	snprintf(directory, sizeof(directory), "%s", xy_kernel_pins(env->kernel));
	assert_int_equal(files_in(directory), 4);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		fd = bpf_obj_get(path);
		assert_true(fd >= 0);
		assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
		assert_string_equal(info.name, names[i]);
		close(fd);
	}
	env_end(env);
	assert_int_equal(access(directory, F_OK), -1);
}

static void pins_of_a_dead_instance_are_replaced(void **state)
{
	struct env *env = env_open(NULL);
	struct xy_pins pins, old;
	char path[2 * PATH_MAX];
	int fd;

	(void)state;
	xy_pins_make(&old, NULL, "test-dead", env->kernel->bpf);
	assert_string_equal(old.why, "");
	snprintf(path, sizeof(path), "%s/stray", old.directory);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "stray", 4, 4, 1, NULL);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	close(fd);
	xy_pins_make(&pins, NULL, "test-dead", env->kernel->bpf);
	assert_string_equal(pins.why, "");
	assert_int_equal(files_in(pins.directory), 4);
	xy_pins_remove(&pins);
	xy_pins_remove(&pins);
	env_close(env);
}

static void lanes_run_unpinned_and_tell_why(void **state)
{
	static const char *const names[] = {"", "with.dot", "with/slash"};
	struct env *env = env_open(NULL);
	struct xy_pins pins;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		xy_pins_make(&pins, NULL, names[i], env->kernel->bpf);
		assert_string_equal(pins.directory, "");
		assert_string_not_equal(pins.why, "");
	}
	xy_pins_make(&pins, "/nowhere/bpf", "test", env->kernel->bpf);
	assert_string_equal(pins.directory, "");
	assert_non_null(strstr(pins.why, "/nowhere/bpf"));
	env_close(env);
}

static void a_bpffs_is_mounted_where_there_is_none(void **state)
{
	struct env *env = env_open(NULL);
	char directory[] = "/tmp/xylem-bpffs-XXXXXX";
	char command[128];
	struct xy_pins pins;

	(void)state;
	assert_non_null(mkdtemp(directory));
	xy_pins_make(&pins, directory, "test", env->kernel->bpf);
	assert_string_equal(pins.why, "");
	assert_int_equal(files_in(pins.directory), 4);
	xy_pins_remove(&pins);
	snprintf(command, sizeof(command), "umount %s", directory);
	assert_int_equal(system(command), 0);
	rmdir(directory);
	env_close(env);
}

/* ---- cgroup ---------------------------------------------------------------------------------- */

static void only_cgroup_v2_directories_will_do(void **state)
{
	struct env *env = env_open(NULL);
	char path[PATH_MAX], why[512];
	int fd;

	(void)state;
	assert_int_equal(xy_cgroup_open(NULL, &fd, path, why, sizeof(why)), 0);
	close(fd);
	assert_int_equal(strncmp(sandbox_cgroup(), path, strlen(path)), 0);
	assert_int_equal(xy_cgroup_open(sandbox_cgroup(), &fd, path, why, sizeof(why)), 0);
	assert_string_equal(path, sandbox_cgroup());
	close(fd);
	assert_int_equal(xy_cgroup_open("/nowhere", &fd, path, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "/nowhere"));
	assert_int_equal(xy_cgroup_open("/proc/version", &fd, path, why, sizeof(why)), -ENOTDIR);
	assert_int_equal(xy_cgroup_open("/tmp", &fd, path, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "no cgroup v2 directory"));
	env_close(env);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void bad_options_are_refused_in_words(void **state)
{
	struct env *env = env_open(NULL);
	struct xy_kernel_options options = {.instance = "x", .cgroup = "/nowhere"};
	struct xy_kernel *kernel = NULL;
	char why[512] = "";

	(void)state;
	assert_int_equal(xy_kernel_open(&options, &kernel, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "/nowhere"));
	options = (struct xy_kernel_options){.instance = "x", .listeners = XY_LISTENERS_MAX + 1};
	assert_int_equal(xy_kernel_open(&options, &kernel, why, sizeof(why)), -EINVAL);
	options = (struct xy_kernel_options){.instance = NULL};
	assert_int_equal(xy_kernel_open(&options, &kernel, why, sizeof(why)), -EINVAL);
	assert_null(kernel);
	xy_kernel_close(NULL);
	env_close(env);
}

static void capability_drop(uint32_t capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	syscall(SYS_capget, &header, data);
	data[capability / 32].effective &= ~(1u << capability % 32);
	data[capability / 32].permitted &= ~(1u << capability % 32);
	data[capability / 32].inheritable &= ~(1u << capability % 32);
	syscall(SYS_capset, &header, data);
}

/* What is locked counts for a user: whoever has just become one starts from nothing. */
static void become_somebody_else(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	uid_t user = 100000 + (uid_t)getpid();

	if (syscall(SYS_capget, &header, data) || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) ||
	    setresuid(user, user, user) || syscall(SYS_capset, &header, data))
		_exit(126);
}

/* Before 5.11 maps count as locked memory: 4096 slots do not fit then. Later the limit is void. */
static void little_lockable_memory_means_fewer_slots(void **state)
{
	struct rlimit limit = {1u << 20, 1u << 20};
	struct xy_kernel_options options = {
		.instance = "test-memlock", .slots = 4096, .flows = 16384, .window = ENV_WINDOW};
	struct xy_kernel *kernel;
	char why[512];
	int status;
	pid_t child;

	(void)state;
	env_close(env_open(NULL)); /* or it is skipped */
	options.cgroup = sandbox_cgroup();
	child = fork();
	if (child == 0) {
		become_somebody_else();
		setrlimit(RLIMIT_MEMLOCK, &limit);
		capability_drop(CAP_SYS_RESOURCE);
		if (xy_kernel_open(&options, &kernel, why, sizeof(why))) {
			fprintf(stderr, "%s\n", why);
			_exit(1);
		}
		fprintf(stderr, "%u slots, %u flows\n", xy_kernel_slots(kernel),
			xy_kernel_flows(kernel));
		_exit(xy_kernel_slots(kernel) < 64 || xy_kernel_flows(kernel) < 256 ? 2 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	xy_pins_remove(&(struct xy_pins){.directory = "/sys/fs/bpf/xylem/test-memlock"});
}

static void without_the_right_to_load_there_is_a_reason(void **state)
{
	struct xy_kernel_options options = {.instance = "test-rights", .window = ENV_WINDOW};
	struct env *env = env_open(NULL);
	struct xy_kernel *kernel;
	char why[512];
	int status, error;
	pid_t child;

	(void)state;
	env_close(env);
	options.cgroup = sandbox_cgroup();
	child = fork();
	if (child == 0) {
		capability_drop(CAP_SYS_ADMIN);
		capability_drop(CAP_BPF);
		error = xy_kernel_open(&options, &kernel, why, sizeof(why));
		_exit(error == -EPERM && strstr(why, "CAP_BPF") ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static bool program_exists(uint32_t id)
{
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static uint32_t program_id(const struct bpf_program *program)
{
	struct bpf_prog_info info = {0};
	uint32_t length = sizeof(info);

	assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &length), 0);
	return info.id;
}

static void nothing_is_left_when_the_sockets_are_gone(void **state)
{
	struct env *env = env_open(NULL);
	struct client publisher, subscriber;
	uint32_t verdict = program_id(env->kernel->bpf->progs.client_verdict);
	uint32_t proxy = program_id(env->kernel->bpf->progs.proxy_verdict);
	uint32_t population = program_id(env->kernel->bpf->progs.client_established);

	(void)state;
	client_open(env, &publisher);
	client_open(env, &subscriber);
	flow_to(env, &publisher, TOPIC, &subscriber);
	send_frame(&publisher, FRAME(.target = TOPIC, .payload = 4));
	receive_frame(subscriber.fd);
	env_end(env);
	close(publisher.fd);
	close(publisher.proxy);
	close(subscriber.fd);
	close(subscriber.proxy);
	/* The kernel frees them later, on its own. */
	for (int i = 0; i < ENV_TIMEOUT / 10; i++) {
		if (!program_exists(verdict) && !program_exists(proxy) &&
		    !program_exists(population))
			return;
		poll(NULL, 0, 10);
	}
	fail_msg("programs outlive their sockets");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_slot_free_longest_is_taken_first),
		cmocka_unit_test(a_retired_slot_is_not_taken_before_it_is_recycled),
		cmocka_unit_test(generation_zero_is_never_used),
		cmocka_unit_test(a_recycled_session_is_as_new),
		cmocka_unit_test(a_claim_needs_an_endpoint_of_its_own),
		cmocka_unit_test(a_full_flow_table_says_so),
		cmocka_unit_test(both_ways_to_wait_come_back),
		cmocka_unit_test(exactly_the_data_maps_are_pinned),
		cmocka_unit_test(pins_of_a_dead_instance_are_replaced),
		cmocka_unit_test(lanes_run_unpinned_and_tell_why),
		cmocka_unit_test(a_bpffs_is_mounted_where_there_is_none),
		cmocka_unit_test(only_cgroup_v2_directories_will_do),
		cmocka_unit_test(bad_options_are_refused_in_words),
		cmocka_unit_test(little_lockable_memory_means_fewer_slots),
		cmocka_unit_test(without_the_right_to_load_there_is_a_reason),
		cmocka_unit_test(nothing_is_left_when_the_sockets_are_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
