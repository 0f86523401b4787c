/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * $XY_TEST_FILTER names the one test function to run ("*" and "?" match as in a shell). It is read
 * before main, so that no test program has to know of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

__attribute__((constructor)) static void filter_from_environment(void)
{
	const char *name = getenv("XY_TEST_FILTER");

	if (name != NULL && *name != '\0')
		cmocka_set_test_filter(name);
}
