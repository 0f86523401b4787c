/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a kernel side that is open still needs: at most CAP_BPF, and where the kernel asks for none,
 * none.
 */
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/kernel_env.h"
#include "edge/privileges.h"

#define TOPIC 0x7000000000000001

static unsigned long long effective(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	return (unsigned long long)data[1].effective << 32 | data[0].effective;
}

static int usable(void *context)
{
	return xy_kernel_usable(context);
}

/* All that a proxy does with its maps. */
static void everything(struct env *env)
{
	struct client publisher, subscriber;
	struct counts before;
	struct frame frame;

	client_open(env, &publisher);
	client_open(env, &subscriber);
	flow_to(env, &publisher, TOPIC, &subscriber);
	before = counts_of(&publisher);
	send_frame(&publisher, FRAME(.target = TOPIC, .payload = 100, .sequence = 1));
	frame = receive_frame(subscriber.fd);
	assert_int_equal(frame.sequence, 1);
	assert_redirected(&publisher, &before, 1);
	client_resync(&publisher);
	xy_kernel_flow_delete(env->kernel, &(struct xy_flow_key){0});
	xy_kernel_grace(env->kernel);
	client_close(env, &publisher);
	client_close(env, &subscriber);
}

static void lanes_need_no_more_than_is_kept(void **state)
{
	struct env *env = env_open(&(struct env_options){.slots = 64});
	bool bpf = false;

	(void)state;
	assert_int_equal(xy_privileges_drop_but(usable, env->kernel, &bpf), 0);
	assert_true(effective() == (bpf ? 1ull << 39 : 0));
	print_message("# kept: %s\n", bpf ? "CAP_BPF" : "nothing");
	everything(env);
	env_close(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lanes_need_no_more_than_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
