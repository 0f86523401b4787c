/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Allocations that fail, in a proxy that a test starts: $BUILD/tests/faults.so (tests/preload) is
 * loaded into it, and looks for its orders in memory that both share. One thread in the test.
 */
#ifndef TEST_FAULTS_H
#define TEST_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FAULTS_VARIABLE "XY_FAULTS" /* names the file of the shared memory */

struct faults {
	_Atomic(uint32_t) one_in;  /* of so many allocations one fails; 0 = none */
	_Atomic(uint32_t) minimum; /* bytes of those that may */
	_Atomic(uint64_t) seed;    /* decides which, with their number */
	_Atomic(uint64_t) asked, failed;
};

/* Programs that are started between these two get the library. NULL under a sanitizer, which has
 * an allocator of its own. */
struct faults *faults_begin(void);
void faults_end(void);

#endif
