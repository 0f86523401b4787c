/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The payloads of a chaos run: each says who sent it, as which one, and that it is whole.
 */
#ifndef CHAOS_MESSAGE_H
#define CHAOS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chaos/ledger.h"

#define STAMP_MAGIC 0x43686173u
#define MESSAGE_MAX (4u << 20)

/* In front of every message of at least its size. Shorter ones to a topic are told apart by source,
 * subject and sequence; their bytes follow from the sequence. */
struct stamp {
	uint32_t magic;
	uint32_t sum;    /* CRC-32 of everything, with this field 0 */
	uint32_t length; /* of the payload */
	uint16_t worker;
	uint8_t channel;
	uint8_t reply;
	uint32_t life;
	uint32_t session; /* of the sender, when it was written */
	uint64_t counter;
};
#define STAMP_SIZE sizeof(struct stamp)
_Static_assert(STAMP_SIZE == 32, "stamp: size");

/* How long the next one is: 95 % up to 1 KiB, 0.01 % above 1 MiB, some have 0 bytes. */
size_t message_length(struct dice *dice, uint32_t maximum);
/* Writes a payload of `length` bytes; stamp->length and ->sum are set. Returns it; valid until the
 * next call. */
const void *message_make(struct stamp stamp, size_t length);
/* NULL and the stamp, or what is wrong with the payload. One without a stamp: `sequence` decides.
 */
const char *message_check(const void *data, size_t length, uint64_t sequence,
			  struct stamp *ret_stamp);

#endif
