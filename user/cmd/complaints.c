/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/complaints.h"

#include <stdarg.h>
#include <stdio.h>

void xy_complain(struct xy_complaints *complaints, const char *format, ...)
{
	char text[XY_COMPLAINT_SIZE];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	complaints->count++;
	complaints->say(complaints, text);
}
