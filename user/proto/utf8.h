/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * UTF-8, one character at a time. Pure; independent of the locale.
 */
#ifndef XY_PROTO_UTF8_H
#define XY_PROTO_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The character at the start of text, of at most `length` bytes. Returns the bytes it takes, 1 … 4,
 * or 0 when there is none: cut short, overlong, a surrogate, beyond U+10FFFF. */
size_t xy_utf8_decode(const char *text, size_t length, uint32_t *ret_character);

#endif
