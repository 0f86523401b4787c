/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much the kernel programs are: instructions, and how many of them the verifier looks at until
 * it believes them, each path through a loop anew. The first is what a send may cost at most, the
 * second what loading takes, and how far it is from the million at which a kernel refuses (K9).
 *
 * What grows beyond its bound is not wrong: it is to be looked at, and the bound to be changed with
 * a reason.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <bpf/libbpf.h>

#include "common/kernel_env.h"
#include "xylem.skel.h"

#define LOG_STATS 4 /* BPF_LOG_STATS: the verifier tells what it did, and nothing else */

/* Clang 14 makes 249, 806 and 143 instructions. The verifier's part depends on the kernel: 41,214
 * and 20,324 of the first, 101,028 … 149,287 of the second, 242 … 247 of the third on
 * Linux 5.10, 6.1, 6.12 and 6.18. A tenth more is allowed. */
static const struct bound {
	const char *program;
	unsigned instructions, verified;
} bound[] = {
	{"client_established", 275, 45500},
	{"client_verdict", 890, 165000},
	{"proxy_verdict", 160, 275},
};
#define PROGRAMS (sizeof(bound) / sizeof(bound[0]))

static struct xylem_bpf *bpf;
static char log_of[PROGRAMS][4096];

static void load(void)
{
	if (bpf)
		return;
	env_close(env_open(NULL)); /* skips where programs cannot be loaded */
	bpf = xylem_bpf__open();
	assert_non_null(bpf);
	for (unsigned i = 0; i < PROGRAMS; i++) {
		struct bpf_program *program =
			bpf_object__find_program_by_name(bpf->obj, bound[i].program);

		assert_non_null(program);
		assert_int_equal(bpf_program__set_log_level(program, LOG_STATS), 0);
		assert_int_equal(bpf_program__set_log_buf(program, log_of[i], sizeof(log_of[i])),
				 0);
	}
	assert_int_equal(xylem_bpf__load(bpf), 0);
}

static int unload(void **state)
{
	(void)state;
	xylem_bpf__destroy(bpf);
	return 0;
}

static unsigned instructions_of(unsigned i)
{
	return (unsigned)bpf_program__insn_cnt(
		bpf_object__find_program_by_name(bpf->obj, bound[i].program));
}

static unsigned verified_of(unsigned i)
{
	const char *told = strstr(log_of[i], "processed ");
	unsigned verified = 0;

	assert_non_null(told);
	assert_int_equal(sscanf(told, "processed %u insns", &verified), 1);
	return verified;
}

static void every_program_is_bounded(void **state)
{
	struct bpf_program *program;
	unsigned programs = 0;

	(void)state;
	load();
	bpf_object__for_each_program(program, bpf->obj) programs++;
	assert_int_equal(programs, PROGRAMS);
}

static void programs_stay_small(void **state)
{
	(void)state;
	load();
	for (unsigned i = 0; i < PROGRAMS; i++) {
		print_message("%s: %u instructions\n", bound[i].program, instructions_of(i));
		assert_in_range(instructions_of(i), 1, bound[i].instructions);
	}
}

static void the_verifier_is_soon_done(void **state)
{
	(void)state;
	load();
	for (unsigned i = 0; i < PROGRAMS; i++) {
		print_message("%s: %u verified\n", bound[i].program, verified_of(i));
		assert_in_range(verified_of(i), 1, bound[i].verified);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_program_is_bounded),
		cmocka_unit_test(programs_stay_small),
		cmocka_unit_test(the_verifier_is_soon_done),
	};

	return cmocka_run_group_tests(tests, NULL, unload);
}
