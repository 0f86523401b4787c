/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who hears what is wrong with a configuration: at the start standard error, at a reload the log.
 */
#ifndef XY_CMD_COMPLAINTS_H
#define XY_CMD_COMPLAINTS_H

#define XY_COMPLAINT_SIZE 1024

struct xy_complaints {
	void (*say)(struct xy_complaints *complaints, const char *text); /* without a newline */
	unsigned count;
};

void xy_complain(struct xy_complaints *complaints, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
