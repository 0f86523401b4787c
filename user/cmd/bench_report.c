/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/bench.h"
#include "cmd/table.h"
#include "cmd/text.h"

static const struct percentile {
	const char *name;
	uint32_t ppm;
} percentiles[] = {
	{"min_ns", 0},        {"p50_ns", 500000},    {"p90_ns", 900000},  {"p99_ns", 990000},
	{"p99_9_ns", 999000}, {"p99_99_ns", 999900}, {"max_ns", 1000000},
};
#define PERCENTILES (sizeof(percentiles) / sizeof(percentiles[0]))

static double per_second(const struct xy_bench_result *result)
{
	if (!result->elapsed_ns)
		return 0;
	return (double)result->measured * XY_NS_PER_S / (double)result->elapsed_ns;
}

static double per_message(const struct xy_bench_result *result, uint64_t value)
{
	return result->measured ? (double)value / (double)result->measured : 0;
}

static const char *work_of(const struct xy_bench_result *result)
{
	return result->request ? "request" : "publish";
}

/* How messages went: requests wait for their replies and are never batched, but by a rate. */
static const char *send_of(const struct xy_bench *bench, const struct xy_bench_result *result)
{
	return result->request ? "-" : bench->send;
}

/* ---- text ------------------------------------------------------------------------------------ */

void xy_bench_report_begin(const struct xy_bench *bench, struct xy_table *table)
{
	if (bench->csv)
		printf("work,publishers,subscribers,pairs,size,send,rate,repetition,lanes,workers,"
		       "seconds,begun,done,measured,messages_per_second,bytes_per_second,"
		       "latencies,min_ns,mean_ns,p50_ns,p90_ns,p99_ns,p99_9_ns,p99_99_ns,max_ns,"
		       "late_p50_ns,late_p99_ns,late_max_ns,unsent,"
		       "missing,corrupt,repeated,foreign,"
		       "proxy_pid,proxy_cpu_ns,proxy_cpu_ns_per_message,proxy_switches,"
		       "proxy_switches_per_message,interrupted,good\n");
	xy_table_init(table, "WORK", "FROM:TO", ">SIZE", "SEND", "LANE", ">MESSAGES/s", ">BYTES/s",
		      ">P50", ">P99", ">P99.9", ">MAX", ">LATE P99", ">PROXY CPU", ">SWITCHES",
		      "CHECKED", NULL);
}

static void text_latency(struct xy_table *table, const struct xy_bench_result *result)
{
	static const uint32_t shown[] = {500000, 990000, 999000, 1000000};

	for (unsigned i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		uint64_t ns = xy_histogram_percentile(&result->latency, shown[i]);

		xy_table_add(table, "%s", result->latency.count ? XY_TIME(ns) : "-");
	}
	xy_table_add(table, "%s",
		     result->late.count ? XY_TIME(xy_histogram_percentile(&result->late, 990000))
					: "-");
}

/* Of the proxy, for each message measured. */
static void text_proxy(struct xy_table *table, const struct xy_bench_result *result)
{
	if (!result->proxy || !result->measured) {
		xy_table_add(table, "-");
		xy_table_add(table, "-");
		return;
	}
	xy_table_add(table, "%.3f µs", per_message(result, result->used.cpu_ns) / 1000);
	xy_table_add(table, "%.4f", per_message(result, result->used.switches));
}

static void report_text(const struct xy_bench *bench, struct xy_table *table,
			const struct xy_bench_result *result)
{
	xy_table_add(table, "%s", work_of(result));
	xy_table_add(table, "%llu:%llu%s", (unsigned long long)bench->producers,
		     (unsigned long long)bench->consumers, bench->pairs ? " pairs" : "");
	xy_table_add(table, "%s", XY_SIZE(result->size));
	xy_table_add(table, "%s", send_of(bench, result));
	xy_table_add(table, "%s",
		     result->lanes == result->workers ? "yes"
		     : result->lanes                  ? "some"
						      : "no");
	xy_table_add(table, "%s", XY_COUNT((uint64_t)per_second(result)));
	xy_table_add(table, "%s", XY_SIZE((uint64_t)(per_second(result) * result->size)));
	text_latency(table, result);
	text_proxy(table, result);
	xy_table_add(table, "%s", xy_bench_good(result) ? XY_COUNT(result->done) : "FAILED");
}

/* What the figures must not be read without. */
static void report_notes(const struct xy_bench_result *result)
{
	if (!xy_bench_good(result))
		fprintf(stderr,
			"xylem bench: %s, %s: of %s messages %s missing, %s corrupt, %s repeated, "
			"%s of strangers: the figures are worth nothing\n",
			work_of(result), XY_SIZE(result->size), XY_COUNT(result->begun),
			XY_COUNT(result->missing), XY_COUNT(result->corrupt),
			XY_COUNT(result->repeated), XY_COUNT(result->foreign));
	if (result->unsent)
		fprintf(stderr,
			"xylem bench: %s, %s: the rate was not kept: %s messages were not sent in "
			"time, and count with the latency that they had by then\n",
			work_of(result), XY_SIZE(result->size), XY_COUNT(result->unsent));
	if (result->interrupted)
		fprintf(stderr, "xylem bench: stopped before its time\n");
}

/* ---- JSON and CSV ---------------------------------------------------------------------------- */

static json_t *times_json(const struct xy_histogram *histogram)
{
	json_t *json;

	if (!histogram->count)
		return json_null();
	json = json_pack("{s:I, s:I}", "count", (json_int_t)histogram->count, "mean_ns",
			 (json_int_t)xy_histogram_mean(histogram));
	for (unsigned i = 0; i < PERCENTILES; i++)
		json_object_set_new(json, percentiles[i].name,
				    json_integer((json_int_t)xy_histogram_percentile(
					    histogram, percentiles[i].ppm)));
	return json;
}

static json_t *proxy_json(const struct xy_bench_result *result)
{
	if (!result->proxy)
		return json_null();
	return json_pack("{s:i, s:I, s:f, s:I, s:f}", "pid", (int)result->proxy, "cpu_ns",
			 (json_int_t)result->used.cpu_ns, "cpu_ns_per_message",
			 per_message(result, result->used.cpu_ns), "switches",
			 (json_int_t)result->used.switches, "switches_per_message",
			 per_message(result, result->used.switches));
}

static void report_json(const struct xy_bench *bench, const struct xy_bench_result *result)
{
	json_t *json =
		json_pack("{s:s, s:i, s:i, s:b, s:I, s:s, s:o, s:i, s:i, s:i, s:b, s:f}", "work",
			  work_of(result), "publishers", (int)bench->producers, "subscribers",
			  (int)bench->consumers, "pairs", bench->pairs, "size",
			  (json_int_t)result->size, "send", send_of(bench, result), "rate",
			  bench->rate > 0 ? json_real(bench->rate) : json_null(), "repetition",
			  (int)result->repetition, "lanes", (int)result->lanes, "workers",
			  (int)result->workers, "lane", result->lanes == result->workers, "seconds",
			  (double)result->elapsed_ns / XY_NS_PER_S);
	json_t *rest = json_pack(
		"{s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, "
		"s:b, s:b}",
		"begun", (json_int_t)result->begun, "done", (json_int_t)result->done, "measured",
		(json_int_t)result->measured, "messages_per_second", per_second(result),
		"bytes_per_second", per_second(result) * result->size, "latency",
		times_json(&result->latency), "late", times_json(&result->late), "unsent",
		(json_int_t)result->unsent, "missing", (json_int_t)result->missing, "corrupt",
		(json_int_t)result->corrupt, "repeated", (json_int_t)result->repeated, "foreign",
		(json_int_t)result->foreign, "proxy", proxy_json(result), "interrupted",
		result->interrupted, "good", xy_bench_good(result));

	json_object_update(json, rest);
	json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(rest);
	json_decref(json);
}

/* A field: the number, or nothing where there is none. */
static void field(bool there, uint64_t value)
{
	if (there)
		printf("%llu", (unsigned long long)value);
	putchar(',');
}

static void report_csv(const struct xy_bench *bench, const struct xy_bench_result *result)
{
	const struct xy_histogram *latency = &result->latency, *late = &result->late;
	static const uint32_t late_ppm[] = {500000, 990000, 1000000};

	printf("%s,%llu,%llu,%d,%u,%s,", work_of(result), (unsigned long long)bench->producers,
	       (unsigned long long)bench->consumers, bench->pairs, result->size,
	       send_of(bench, result));
	if (bench->rate > 0)
		printf("%g", bench->rate);
	printf(",%u,%u,%u,%.6f,%llu,%llu,%llu,%.1f,%.1f,", result->repetition, result->lanes,
	       result->workers, (double)result->elapsed_ns / XY_NS_PER_S,
	       (unsigned long long)result->begun, (unsigned long long)result->done,
	       (unsigned long long)result->measured, per_second(result),
	       per_second(result) * result->size);
	field(true, latency->count);
	for (unsigned i = 0; i < PERCENTILES; i++) {
		field(latency->count, xy_histogram_percentile(latency, percentiles[i].ppm));
		if (i == 0)
			field(latency->count, xy_histogram_mean(latency));
	}
	for (unsigned i = 0; i < sizeof(late_ppm) / sizeof(late_ppm[0]); i++)
		field(late->count, xy_histogram_percentile(late, late_ppm[i]));
	printf("%llu,%llu,%llu,%llu,%llu,", (unsigned long long)result->unsent,
	       (unsigned long long)result->missing, (unsigned long long)result->corrupt,
	       (unsigned long long)result->repeated, (unsigned long long)result->foreign);
	field(result->proxy, (uint64_t)result->proxy);
	field(result->proxy, result->used.cpu_ns);
	if (result->proxy)
		printf("%.1f", per_message(result, result->used.cpu_ns));
	putchar(',');
	field(result->proxy, result->used.switches);
	if (result->proxy)
		printf("%.5f", per_message(result, result->used.switches));
	printf(",%d,%d\n", result->interrupted, xy_bench_good(result));
}

/* ---- all of them ----------------------------------------------------------------------------- */

void xy_bench_report(const struct xy_bench *bench, struct xy_table *table,
		     const struct xy_bench_result *result)
{
	if (bench->json)
		report_json(bench, result);
	else if (bench->csv)
		report_csv(bench, result);
	else
		report_text(bench, table, result);
	fflush(stdout);
	report_notes(result);
}

int xy_bench_report_end(const struct xy_bench *bench, struct xy_table *table)
{
	if (!bench->json && !bench->csv && table->cells)
		xy_table_print(table);
	if (!fflush(stdout) && !ferror(stdout))
		return XY_CMD_OK;
	/* A reader that had enough is no failure. */
	if (errno == EPIPE)
		return XY_CMD_OK;
	fprintf(stderr, "xylem bench: standard output: %s\n", strerror(errno));
	return XY_CMD_FAILURE;
}
