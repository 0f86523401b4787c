/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A proxy's status for people: the answer of the admin socket as tables on standard output.
 *
 * Members that a proxy of another version does not have are shown as empty.
 */
#ifndef XY_CMD_SHOW_H
#define XY_CMD_SHOW_H

#include <jansson.h>
#include <stdbool.h>

#define XY_SHOW_SECTIONS "proxy|slow|connections|flows|subscriptions|subjects|counters"

bool xy_show_section_known(const char *section);
/* `section` NULL = all but counters. `before`: an earlier answer, for rates over `seconds`; NULL =
 * none. */
void xy_show(const json_t *status, const char *section, const json_t *before, double seconds);

#endif
