/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/digest.h"

#include <errno.h>
#include <openssl/sha.h>

_Static_assert(SHA256_DIGEST_LENGTH == 32, "digest");

int xy_digest(const void *data, size_t length, uint8_t ret_digest[32])
{
	return SHA256(data, length, ret_digest) ? 0 : -ENOMEM;
}
