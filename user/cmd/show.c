/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/table.h"
#include "cmd/text.h"

/* What a table cell can take; the rest of a list is said to be there. */
#define LIST_SIZE 512

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static uint64_t number_of(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static bool is(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

/* Appends to a list; "…" once when it is full. */
static void list_add(char list[LIST_SIZE], const char *item)
{
	size_t length = strlen(list);

	if (length + strlen(item) + 8 < LIST_SIZE)
		sprintf(list + length, "%s%s", length ? ", " : "", item);
	else if (length && strcmp(list + length - strlen("…"), "…"))
		strcat(list, ", …");
}

/* ---- proxy ----------------------------------------------------------------------------------- */

struct totals {
	uint64_t connections, lanes, kernel, proxy, bytes;
};

static struct totals totals_of(const json_t *status)
{
	struct totals totals = {0};
	json_t *connection;
	size_t i;

	json_array_foreach(json_object_get(status, "connections"), i, connection)
	{
		const json_t *kernel = json_object_get(connection, "kernel");

		totals.connections++;
		totals.lanes += is(connection, "lane");
		totals.kernel += number_of(kernel, "frames");
		totals.bytes += number_of(kernel, "bytes");
		totals.proxy += number_of(kernel, "passed");
	}
	return totals;
}

static void show_kernel_path(const json_t *path, uint64_t lanes, size_t flows)
{
	if (is(path, "active")) {
		printf("Kernel path   on: lanes %s of %s, flows %s of %s\n", XY_COUNT(lanes),
		       XY_COUNT(number_of(path, "slots")), XY_COUNT(flows),
		       XY_COUNT(number_of(path, "flows")));
		printf("Cgroup        %s (%s)\n", text_of(path, "cgroup"),
		       text_of(path, "cgroup_why"));
		if (*text_of(path, "untested"))
			printf("Not tested    %s\n", text_of(path, "untested"));
		if (number_of(path, "sockets_left"))
			printf("Sockets left  %s without lanes: another eBPF agent's, or the maps "
			       "were full\n",
			       XY_COUNT(number_of(path, "sockets_left")));
		if (*text_of(path, "pins"))
			printf("Pinned maps   %s\n", text_of(path, "pins"));
		else
			printf("Pinned maps   none%s%s\n", *text_of(path, "pins_why") ? ": " : "",
			       text_of(path, "pins_why"));
	} else {
		printf("Kernel path   off%s%s\n", *text_of(path, "reason") ? ": " : "",
		       text_of(path, "reason"));
	}
}

static void show_confinement(const json_t *confinement)
{
	if (!is(confinement, "active")) {
		printf("Confined      no: %s\n", text_of(confinement, "reason"));
		return;
	}
	printf("Confined      user %" PRIu64 ", group %" PRIu64 ", %s, %s%s\n",
	       number_of(confinement, "user"), number_of(confinement, "group"),
	       json_array_size(json_object_get(confinement, "capabilities")) ? "CAP_BPF"
									     : "no capabilities",
	       is(confinement, "filter") ? "system calls filtered" : "no filter: ",
	       text_of(confinement, "reason"));
}

/* Loops that did not come round in time; one that does not now cannot say what it owns. */
static void show_stuck(const json_t *loops)
{
	json_t *loop;
	size_t i;

	json_array_foreach(loops, i, loop)
	{
		if (number_of(loop, "stuck_count"))
			printf("Stuck loop    %s: %s, %s times, longest %s\n",
			       text_of(loop, "name"), is(loop, "stuck") ? "now" : "not now",
			       XY_COUNT(number_of(loop, "stuck_count")),
			       XY_TIME(number_of(loop, "stuck_longest_ms") * 1000000));
	}
}

static void show_memory(const json_t *memory)
{
	printf("Memory        %s of %s used, at most %s so far%s (window %s, socket buffers %s)\n",
	       XY_SIZE(number_of(memory, "used")), XY_SIZE(number_of(memory, "budget")),
	       XY_SIZE(number_of(memory, "high")), is(memory, "pressed") ? ", PRESSED" : "",
	       XY_SIZE(number_of(memory, "window")), XY_SIZE(number_of(memory, "socket_buffer")));
}

static void show_proxy(const json_t *status, const json_t *before, double seconds)
{
	struct totals now = totals_of(status);
	char list[LIST_SIZE] = "";
	json_t *item;
	size_t i;

	printf("Instance      %s: xylem %s, pid %" PRIu64 ", up %s\n", text_of(status, "instance"),
	       text_of(status, "version"), number_of(status, "pid"),
	       XY_TIME(number_of(status, "uptime_ms") * 1000000));
	json_array_foreach(json_object_get(status, "listen"), i, item)
		list_add(list, json_string_value(item) ? json_string_value(item) : "");
	printf("Listens on    %s\n", list);
	if (is(status, "draining"))
		puts("State         shutting down");
	show_kernel_path(json_object_get(status, "kernel_path"), now.lanes,
			 json_array_size(json_object_get(status, "flows")));
	show_confinement(json_object_get(status, "confinement"));
	*list = 0;
	json_array_foreach(json_object_get(status, "loops"), i, item)
	{
		char text[128];

		if (!json_object_get(item, "connections"))
			continue;
		snprintf(text, sizeof(text), "%s: %s", text_of(item, "name"),
			 XY_COUNT(number_of(item, "connections")));
		list_add(list, text);
	}
	printf("Connections   %s, %s of them lanes (%s)\n", XY_COUNT(now.connections),
	       XY_COUNT(now.lanes), list);
	printf("Pipes         %s in segments\n", XY_SIZE(number_of(status, "pool_bytes")));
	show_stuck(json_object_get(status, "loops"));
	printf("Messages      frames of lanes: %s by the kernel (%s), %s by the proxy: %s\n",
	       XY_COUNT(now.kernel), XY_SIZE(now.bytes), XY_COUNT(now.proxy),
	       XY_SHARE(now.kernel, now.kernel + now.proxy));
	show_memory(json_object_get(status, "memory"));
	if (before && seconds > 0) {
		struct totals then = totals_of(before);
		/* Totals shrink when a connection goes. */
		double kernel = now.kernel > then.kernel ? (double)(now.kernel - then.kernel) : 0;
		double proxy = now.proxy > then.proxy ? (double)(now.proxy - then.proxy) : 0;
		double bytes = now.bytes > then.bytes ? (double)(now.bytes - then.bytes) : 0;

		printf("Now           %s frames/s by the kernel (%s/s), %s frames/s by the proxy\n",
		       XY_COUNT((uint64_t)(kernel / seconds)), XY_SIZE((uint64_t)(bytes / seconds)),
		       XY_COUNT((uint64_t)(proxy / seconds)));
	}
}

/* ---- the other sections ---------------------------------------------------------------------- */

static void reasons_list(const json_t *reasons, char list[LIST_SIZE])
{
	const char *name;
	json_t *count;

	*list = 0;
	json_object_foreach((json_t *)reasons, name, count)
	{
		char text[96];

		if (!json_integer_value(count))
			continue;
		snprintf(text, sizeof(text), "%s %s", name,
			 XY_COUNT((uint64_t)json_integer_value(count)));
		list_add(list, text);
	}
}

/* What stands for a lane where there is none. */
static const char *no_lane(const json_t *connection)
{
	const char *version = text_of(json_object_get(connection, "tls"), "version");

	if (!strcmp(version, "TLSv1.3"))
		return "- tls 1.3";
	if (!strcmp(version, "TLSv1.2"))
		return "- tls 1.2";
	return !strcmp(text_of(connection, "kind"), "unix") ? "- unix" : "-";
}

static void show_connections(const json_t *status)
{
	struct xy_table table;
	json_t *connection;
	size_t i;

	/* KERNEL and PROXY: frames this client sent, by who moved them. */
	xy_table_init(&table, "CONNECTION", "IDENTITY", "ENDPOINT", "PEER", "LANE", ">KERNEL",
		      ">PROXY", ">SHARE", ">GOT:KERNEL", ">GOT:PROXY", ">QUEUED", ">DROPPED",
		      ">SUBS", "WHY BY THE PROXY", NULL);
	json_array_foreach(json_object_get(status, "connections"), i, connection)
	{
		const json_t *kernel = json_object_get(connection, "kernel");
		uint64_t redirected = number_of(kernel, "frames");
		bool lane = is(connection, "lane");
		/* The verdict counts for lanes; of the others the proxy reads all. */
		uint64_t passed = lane ? number_of(kernel, "passed")
				       : number_of(json_object_get(connection, "in"), "frames");
		char reasons[LIST_SIZE];

		reasons_list(json_object_get(kernel, "reasons"), reasons);
		xy_table_add(&table, "%s", text_of(connection, "name"));
		xy_table_add(&table, "%s", text_of(connection, "identity"));
		xy_table_add(&table, "%s", text_of(connection, "endpoint"));
		xy_table_add(&table, "%s", text_of(connection, "peer"));
		if (lane)
			xy_table_add(&table, "%" PRIu64, number_of(connection, "slot"));
		else
			xy_table_add(&table, "%s", no_lane(connection));
		xy_table_add(&table, "%s", XY_COUNT(redirected));
		xy_table_add(&table, "%s", XY_COUNT(passed));
		xy_table_add(&table, "%s", XY_SHARE(redirected, redirected + passed));
		xy_table_add(&table, "%s", XY_COUNT(number_of(kernel, "received")));
		xy_table_add(&table, "%s",
			     XY_COUNT(number_of(json_object_get(connection, "out"), "frames")));
		xy_table_add(&table, "%s", XY_SIZE(number_of(connection, "queued_bytes")));
		xy_table_add(&table, "%s", XY_COUNT(number_of(connection, "dropped")));
		xy_table_add(&table, "%s", XY_COUNT(number_of(connection, "subscriptions")));
		xy_table_add(&table, "%s", reasons);
	}
	xy_table_print(&table);
}

static void dropped_list(const json_t *dropped, char list[LIST_SIZE])
{
	const char *policy;
	json_t *counts;

	*list = 0;
	json_object_foreach((json_t *)dropped, policy, counts)
	{
		char text[96];

		snprintf(text, sizeof(text), "%s %s", policy,
			 XY_COUNT(number_of(counts, "messages")));
		list_add(list, text);
	}
}

static void show_slow(const json_t *status)
{
	struct xy_table table;
	json_t *slow;
	size_t i;

	xy_table_init(&table, "SLOW RECEIVER", "ENDPOINT", ">HELD", ">OUTSTANDING", "WAITED FOR",
		      "MESSAGES DROPPED", NULL);
	json_array_foreach(json_object_get(status, "slow"), i, slow)
	{
		char dropped[LIST_SIZE];

		dropped_list(json_object_get(slow, "dropped"), dropped);
		xy_table_add(&table, "%s", text_of(slow, "name"));
		xy_table_add(&table, "%s", text_of(slow, "endpoint"));
		xy_table_add(&table, "%s", XY_SIZE(number_of(slow, "held")));
		xy_table_add(&table, "%s", XY_SIZE(number_of(slow, "outstanding")));
		xy_table_add(&table, "%s", is(slow, "waited_for") ? "yes" : "no");
		xy_table_add(&table, "%s", dropped);
	}
	xy_table_print(&table);
}

/* The name of an endpoint, or its digits. */
static const char *name_of(const json_t *status, const char *endpoint)
{
	json_t *connection;
	size_t i;

	json_array_foreach(json_object_get(status, "connections"), i, connection)
	{
		if (!strcmp(text_of(connection, "endpoint"), endpoint))
			return text_of(connection, "name");
	}
	return endpoint;
}

static void show_flows(const json_t *status)
{
	struct xy_table table;
	json_t *flow;
	size_t i;

	xy_table_init(&table, "FLOW FROM", "SUBJECT", "TARGET", ">MEMBERS", NULL);
	json_array_foreach(json_object_get(status, "flows"), i, flow)
	{
		const char *subject = text_of(flow, "subject");

		xy_table_add(&table, "%s", name_of(status, text_of(flow, "from")));
		xy_table_add(&table, "%s", *subject ? subject : "(direct)");
		xy_table_add(&table, "%s",
			     *subject ? text_of(flow, "target")
				      : name_of(status, text_of(flow, "target")));
		xy_table_add(&table, "%s", XY_COUNT(number_of(flow, "members")));
	}
	xy_table_print(&table);
}

/* One row for each subject, group and policy; the proxy lists each subscription. */
static void show_subscriptions(const json_t *status)
{
	json_t *counts = json_object(), *subscription, *count;
	struct xy_table table;
	const char *key;
	size_t i;

	json_array_foreach(json_object_get(status, "subscriptions"), i, subscription)
	{
		/* None of the three can hold a tab. */
		json_t *row = json_sprintf("%s\t%s\t%s", text_of(subscription, "subject"),
					   text_of(subscription, "group"),
					   text_of(subscription, "overflow"));

		key = json_string_value(row);
		json_object_set_new(counts, key,
				    json_integer((json_int_t)number_of(counts, key) + 1));
		json_decref(row);
	}
	xy_table_init(&table, "SUBSCRIPTION", "GROUP", "OVERFLOW", ">CONNECTIONS", NULL);
	json_object_foreach(counts, key, count)
	{
		const char *group = strchr(key, '\t') + 1, *overflow = strchr(group, '\t') + 1;

		xy_table_add(&table, "%.*s", (int)(group - key) - 1, key);
		xy_table_add(&table, "%.*s", (int)(overflow - group) - 1, group);
		xy_table_add(&table, "%s", overflow);
		xy_table_add(&table, "%s", XY_COUNT((uint64_t)json_integer_value(count)));
	}
	xy_table_print(&table);
	json_decref(counts);
}

static void show_subjects(const json_t *status)
{
	struct xy_table table;
	json_t *subject;
	size_t i;

	xy_table_init(&table, "SUBJECT", "ID", ">PUBLISHERS", ">RECEIVERS", NULL);
	json_array_foreach(json_object_get(status, "subjects"), i, subject)
	{
		xy_table_add(&table, "%s", text_of(subject, "subject"));
		xy_table_add(&table, "%s", text_of(subject, "id"));
		xy_table_add(&table, "%s", XY_COUNT(number_of(subject, "declared")));
		xy_table_add(&table, "%s", XY_COUNT(number_of(subject, "receivers")));
	}
	xy_table_print(&table);
}

static void show_counters(const json_t *status)
{
	json_t *counters = json_object_get(status, "counters"), *value;
	struct xy_table table;
	const char *name;

	xy_table_init(&table, "COUNTER", ">VALUE", NULL);
	json_object_foreach(counters, name, value)
	{
		xy_table_add(&table, "%s", name);
		xy_table_add(&table, "%s", XY_COUNT((uint64_t)json_integer_value(value)));
	}
	xy_table_print(&table);
}

static const struct {
	const char *name;
	void (*show)(const json_t *status);
} sections[] = {
	{"slow", show_slow},         {"connections", show_connections},
	{"flows", show_flows},       {"subscriptions", show_subscriptions},
	{"subjects", show_subjects}, {"counters", show_counters},
};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

bool xy_show_section_known(const char *section)
{
	for (size_t i = 0; i < SECTIONS; i++)
		if (!strcmp(section, sections[i].name))
			return true;
	return !strcmp(section, "proxy");
}

void xy_show(const json_t *status, const char *section, const json_t *before, double seconds)
{
	if (!section || !strcmp(section, "proxy"))
		show_proxy(status, before, seconds);
	for (size_t i = 0; i < SECTIONS; i++) {
		if (section) {
			if (!strcmp(section, sections[i].name))
				sections[i].show(status);
		} else if (sections[i].show != show_counters &&
			   json_array_size(json_object_get(status, sections[i].name))) {
			putchar('\n');
			sections[i].show(status);
		}
	}
}
