/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text of others, on its way to a terminal or into a log. Pure.
 */
#ifndef XY_BASE_SILENCE_H
#define XY_BASE_SILENCE_H

#include <stddef.h>

/* A question mark for each byte of a control character, those that UTF-8 has beyond ASCII too: the
 * text can neither speak to the terminal nor write lines of its own. */
void xy_silence(char *text, size_t length);

#endif
