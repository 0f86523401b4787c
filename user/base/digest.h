/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SHA-256, by libcrypto. Any thread.
 */
#ifndef XY_BASE_DIGEST_H
#define XY_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* -ENOMEM. The first call of a process reads libcrypto's configuration. */
int xy_digest(const void *data, size_t length, uint8_t ret_digest[32]);

#endif
