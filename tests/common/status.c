/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

json_t *status_take(const struct proxy *proxy)
{
	char command[512];
	json_t *status;
	FILE *pipe;

	snprintf(command, sizeof(command), "'%s' status --json --timeout 30s --instance %s",
		 proxy_binary(), proxy_instance(proxy));
	pipe = popen(command, "re");
	assert_non_null(pipe);
	status = json_loadf(pipe, 0, NULL);
	assert_int_equal(pclose(pipe), 0);
	assert_non_null(status);
	return status;
}

bool status_is_whole(json_t *status)
{
	json_t *loop;
	size_t i;

	json_array_foreach(json_object_get(status, "loops"), i, loop)
	{
		if (json_is_true(json_object_get(loop, "stuck")))
			return false;
	}
	return true;
}

json_t *status_take_whole(const struct proxy *proxy)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	json_t *status = status_take(proxy);

	while (!status_is_whole(status)) {
		assert_true(test_now_ms() < deadline);
		json_decref(status);
		status = status_take(proxy);
	}
	return status;
}

json_t *status_take_with(const struct proxy *proxy, const struct raw *raw)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;
	json_t *status = status_take(proxy);

	while (status_connection(status, raw) == NULL) {
		assert_true(test_now_ms() < deadline);
		json_decref(status);
		status = status_take(proxy);
	}
	return status;
}

uint64_t status_number(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

uint64_t status_counter(const struct proxy *proxy, const char *name)
{
	json_t *status = status_take(proxy);
	json_t *value = json_object_get(json_object_get(status, "counters"), name);
	uint64_t count = (uint64_t)json_integer_value(value);

	if (value == NULL)
		fail_msg("status has no counter %s", name);
	json_decref(status);
	return count;
}

static json_t *entry_find(json_t *list, const char *key, const char *value)
{
	json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		const char *text = json_string_value(json_object_get(entry, key));

		if (text != NULL && strcmp(text, value) == 0)
			return entry;
	}
	return NULL;
}

json_t *status_loop(json_t *status, const char *name)
{
	return entry_find(json_object_get(status, "loops"), "name", name);
}

static json_t *entry_of(json_t *list, const char *key, const struct raw *raw)
{
	char endpoint[17];

	snprintf(endpoint, sizeof(endpoint), "%016" PRIx64, raw->endpoint);
	return entry_find(list, key, endpoint);
}

json_t *status_connection(json_t *status, const struct raw *raw)
{
	return entry_of(json_object_get(status, "connections"), "endpoint", raw);
}

bool status_has_flow(const struct proxy *proxy, const struct raw *sender)
{
	json_t *status = status_take_whole(proxy);
	bool has = entry_of(json_object_get(status, "flows"), "from", sender) != NULL;

	json_decref(status);
	return has;
}

uint64_t status_reason(const struct proxy *proxy, const struct raw *raw, const char *reason)
{
	json_t *status = status_take(proxy);
	json_t *kernel = json_object_get(status_connection(status, raw), "kernel");
	uint64_t count = status_number(json_object_get(kernel, "reasons"), reason);

	json_decref(status);
	return count;
}

uint64_t status_memory(const struct proxy *proxy, const char *name)
{
	json_t *status = status_take(proxy);
	uint64_t number = status_number(json_object_get(status, "memory"), name);

	json_decref(status);
	return number;
}
