/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stddef.h>
#include <sys/random.h>

#include "base/random.h"

/* Up to 256 bytes getrandom() gives all or nothing. */
#define BATCH (256 / sizeof(uint64_t))

static _Thread_local uint64_t batch[BATCH];
static _Thread_local size_t left;

static int batch_fill(void)
{
	while (getrandom(batch, sizeof(batch), 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	left = BATCH;
	return 0;
}

int xy_random_id(uint64_t *ret_id)
{
	uint64_t id;
	int r;

	do {
		if (left == 0) {
			r = batch_fill();
			if (r < 0)
				return r;
		}
		left--;
		id = batch[left];
		/* An id that was handed out is nobody else's to find in memory. */
		batch[left] = 0;
	} while (id == 0);
	*ret_id = id;
	return 0;
}
