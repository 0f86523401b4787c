/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *xy_text_count(struct xy_text *text, uint64_t count)
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, count);
	char *to = text->at;

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = 0;
	return text->at;
}

/* Three significant digits, or whole when it is large. */
static void text_scaled(struct xy_text *text, double value, const char *unit)
{
	snprintf(text->at, sizeof(text->at), "%.*f %s",
		 value < 9.995   ? 2
		 : value < 99.95 ? 1
				 : 0,
		 value, unit);
}

const char *xy_text_size(struct xy_text *text, uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(text->at, sizeof(text->at), "%" PRIu64 " B", bytes);
		return text->at;
	}
	while (value >= 1023.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	text_scaled(text, value, units[unit]);
	return text->at;
}

const char *xy_text_time(struct xy_text *text, uint64_t ns)
{
	static const uint64_t S = 1000000000;

	if (ns < 1000)
		snprintf(text->at, sizeof(text->at), "%" PRIu64 " ns", ns);
	else if (ns < 1000000)
		text_scaled(text, (double)ns / 1e3, "µs");
	else if (ns < S)
		text_scaled(text, (double)ns / 1e6, "ms");
	else if (ns < 120 * S)
		text_scaled(text, (double)ns / 1e9, "s");
	else if (ns < 7200 * S)
		snprintf(text->at, sizeof(text->at), "%" PRIu64 " min %" PRIu64 " s", ns / (60 * S),
			 ns / S % 60);
	else
		snprintf(text->at, sizeof(text->at), "%" PRIu64 " h %" PRIu64 " min",
			 ns / (3600 * S), ns / (60 * S) % 60);
	return text->at;
}

const char *xy_text_share(struct xy_text *text, uint64_t part, uint64_t whole)
{
	double percent = whole ? 100.0 * (double)part / (double)whole : 0;

	if (!whole)
		return strcpy(text->at, "-");
	/* What is not all must not read as all. */
	if (part < whole && percent > 99.9)
		percent = 99.9;
	snprintf(text->at, sizeof(text->at), part == whole ? "%.0f %%" : "%.1f %%", percent);
	return text->at;
}
