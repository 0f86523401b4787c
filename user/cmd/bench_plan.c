/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/bench.h"

#define RATE_MAX 100000000.0

/* A number that is followed by one of `ends` or the end of the text. */
static bool take_number(const char **at, const char *ends, unsigned long maximum,
			unsigned long *ret_value)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)**at))
		return false;
	errno = 0;
	value = strtoul(*at, &end, 10);
	if (errno || value > maximum || (*end && !strchr(ends, *end)))
		return false;
	*at = end;
	*ret_value = value;
	return true;
}

static bool sizes_parse(struct xy_bench *bench)
{
	const char *at = bench->sizes_text;
	unsigned long value;

	for (;;) {
		if (bench->sizes == XY_BENCH_SIZES_MAX ||
		    !take_number(&at, ",KM", XY_BENCH_SIZE_MAX, &value))
			return false;
		if (*at == 'K' || *at == 'M')
			value <<= *at++ == 'K' ? 10 : 20;
		if (value > XY_BENCH_SIZE_MAX || (*at && *at != ','))
			return false;
		bench->size[bench->sizes++] = (uint32_t)value;
		if (!*at++)
			return true;
	}
}

static bool cpus_parse(struct xy_bench *bench)
{
	const char *at = bench->cpus_text;
	unsigned long first, last;

	for (;;) {
		if (!take_number(&at, ",-", CPU_SETSIZE - 1, &first))
			return false;
		last = first;
		if (*at == '-') {
			at++;
			if (!take_number(&at, ",", CPU_SETSIZE - 1, &last))
				return false;
		}
		if (last < first || last - first >= XY_BENCH_CPUS_MAX - bench->cpus)
			return false;
		for (unsigned long cpu = first; cpu <= last; cpu++)
			bench->cpu[bench->cpus++] = (uint16_t)cpu;
		if (!*at++)
			return true;
	}
}

static int cpus_take(struct xy_bench *bench, const struct xy_command *command)
{
	cpu_set_t allowed;

	if (!bench->cpus_text)
		return XY_CMD_OK;
	if (!cpus_parse(bench))
		return xy_options_complain(
			command, "option --cpus: '%s' is not a list of CPUs; write 0,1 or 0-3,8",
			bench->cpus_text);
	CPU_ZERO(&allowed);
	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (unsigned i = 0; i < bench->cpus; i++)
		if (!CPU_ISSET(bench->cpu[i], &allowed))
			return xy_options_complain(
				command, "option --cpus: this process may not run on CPU %u",
				bench->cpu[i]);
	return XY_CMD_OK;
}

static int works_take(struct xy_bench *bench, const struct xy_command *command, char **works)
{
	bench->request = bench->publish = !*works;
	for (; *works; works++) {
		if (!strcmp(*works, "request"))
			bench->request = true;
		else if (!strcmp(*works, "publish"))
			bench->publish = true;
		else
			return xy_options_complain(
				command, "no work '%s'; there are request and publish", *works);
	}
	return XY_CMD_OK;
}

/* Options that contradict each other. NULL: none do. */
static const char *contradiction(const struct xy_bench *bench)
{
	if (bench->json && bench->csv)
		return "options --json and --csv: give one of them";
	if (bench->count && bench->duration_given)
		return "options --count and --duration: give one of them";
	if (bench->count && bench->warmup_given)
		return "option --warmup: with --count everything is measured";
	if (bench->proxy_pid && (bench->where.instance || bench->where.admin))
		return "options --proxy-pid and --admin or --instance: give one of them";
	if (bench->pairs && bench->producers != bench->consumers)
		return "option --pairs: needs as many subscribers as publishers";
	if (bench->rate > RATE_MAX)
		return "option --rate: at most 100,000,000 messages per second";
	return NULL;
}

/* What this transport cannot do. NULL: nothing of what is wanted. */
static const char *impossible(const struct xy_bench *bench)
{
	const struct xy_bench_transport *transport = bench->transport;

	if (bench->request && bench->rate > 0 && !transport->request_async)
		return "option --rate: not of requests by this transport";
	if (bench->request && !transport->request && bench->producers + bench->consumers > 2 &&
	    !bench->pairs)
		return "request: by this transport, by pairs";
	for (unsigned i = 0; i < bench->sizes; i++)
		if (transport->anonymous && bench->size[i] < XY_BENCH_STAMP_SIZE)
			return "option --size: at least 16 by this transport, which tells nothing "
			       "of a message but its bytes";
	return NULL;
}

int xy_bench_plan(struct xy_bench *bench, const struct xy_command *command, char **works)
{
	const char *words = contradiction(bench);
	int status = works_take(bench, command, works);

	if (status)
		return status;
	if (words)
		return xy_options_complain(command, "%s", words);
	if (!sizes_parse(bench))
		return xy_options_complain(command,
					   "option --size: '%s' is not a list of up to %d sizes "
					   "from 0 to 1M; write 64 or 0,64,1K,1M",
					   bench->sizes_text, XY_BENCH_SIZES_MAX);
	words = impossible(bench);
	if (words)
		return xy_options_complain(command, "%s", words);
	if (bench->proxy_pid && kill((pid_t)bench->proxy_pid, 0) && errno == ESRCH)
		return xy_options_complain(command, "option --proxy-pid: there is no process %llu",
					   (unsigned long long)bench->proxy_pid);
	bench->each = *bench->send == 'e';
	status = cpus_take(bench, command);
	if (!status && (bench->where.instance || bench->where.admin))
		status = xy_admin_locate(command, &bench->where);
	return status;
}
