/* SPDX-License-Identifier: BSD-2-Clause */
/* The JSON payloads: what is taken, what is refused, and that both ways agree. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/json.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

enum kind { HELLO, WELCOME, SUBSCRIBE, ERROR_INFO };

union record {
	struct xy_hello hello;
	struct xy_welcome welcome;
	struct xy_subscribe subscribe;
	struct xy_error_info error;
};

static int decode_as(enum kind kind, const void *data, size_t length, union record *ret, char *why)
{
	switch (kind) {
	case HELLO:
		return xy_hello_decode(data, length, &ret->hello, why);
	case WELCOME:
		return xy_welcome_decode(data, length, &ret->welcome, why);
	case SUBSCRIBE:
		return xy_subscribe_decode(data, length, &ret->subscribe, why);
	case ERROR_INFO:
		return xy_error_decode(data, length, &ret->error, why);
	}
	abort();
}

/* From a heap block of exactly that length; a refusal says why and leaves the record alone. */
static int decode(enum kind kind, const char *text, size_t length, union record *ret)
{
	union record before;
	char why[XY_WHY_SIZE];
	char *copy = malloc(length > 0 ? length : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, text, length);
	memset(why, 0, sizeof(why));
	memset(ret, 0xa5, sizeof(*ret));
	before = *ret;
	r = decode_as(kind, copy, length, ret, why);
	if (r < 0) {
		assert_int_equal(r, -EBADMSG);
		assert_memory_equal(ret, &before, sizeof(before));
		assert_int_not_equal(strlen(why), 0);
		assert_int_equal(decode_as(kind, copy, length, ret, NULL), r);
	} else {
		assert_int_equal(strlen(why), 0);
	}
	free(copy);
	return r;
}

static void assert_taken(enum kind kind, const char *text, union record *ret)
{
	if (decode(kind, text, strlen(text), ret) != 0)
		fail_msg("refused: %s", text);
}

static void assert_refused(enum kind kind, const char *text)
{
	union record record;

	if (decode(kind, text, strlen(text), &record) == 0)
		fail_msg("taken: %s", text);
}

static void test_hello_with_all_members(void **state)
{
	union record r;

	(void)state;
	assert_taken(HELLO,
		     "{\"name\":\"sensor \\u00e9\",\"token\":\"s3cret\",\"library\":\"py/1\","
		     "\"ack\":true,\"later\":[1,{\"x\":null}]}",
		     &r);
	assert_string_equal(r.hello.name, "sensor \xc3\xa9");
	assert_string_equal(r.hello.token, "s3cret");
	assert_string_equal(r.hello.library, "py/1");
	assert_true(r.hello.ack);
}

static void test_hello_with_required_members_only(void **state)
{
	union record r;

	(void)state;
	assert_taken(HELLO, " { \"ack\" : false , \"name\" : \"\" } \n", &r);
	assert_string_equal(r.hello.name, "");
	assert_string_equal(r.hello.token, "");
	assert_string_equal(r.hello.library, "");
	assert_false(r.hello.ack);
}

static void test_what_is_not_one_object_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		" ",
		"null",
		"1",
		"\"name\"",
		"[]",
		"[{\"name\":\"x\",\"ack\":true}]",
		"{",
		"}",
		"{}",
		"{]",
		"{\"name\":\"x\",\"ack\":true",
		"{\"name\":\"x\",\"ack\":true}}",
		"{\"name\":\"x\",\"ack\":true}{}",
		"{\"name\":\"x\",\"ack\":true} x",
		"{\"name\":\"x\",\"ack\":true,}",
		"{'name':'x','ack':true}",
		"{\"name\":\"x\",\"ack\":True}",
		"{\"name\":\"x\",\"ack\":true,\"n\":01}",
		"{\"name\":\"x\",\"ack\":true,\"n\":NaN}",
		"{\"name\":\"x\",\"ack\":true,\"n\":99999999999999999999}",
		"{\"name\":\"x\",\"ack\":true,\"s\":\"\\x41\"}",
		"{\"name\":\"x\",\"ack\":true,\"s\":\"\\ud800\"}",
		"{\"name\":\"a\nb\",\"ack\":true}",
		"{\"name\":\"\xff\",\"ack\":true}",
		"{\"name\":\"\xed\xa0\x80\",\"ack\":true}",
		"\xef\xbb\xbf{\"name\":\"x\",\"ack\":true}",
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++)
		for (enum kind kind = HELLO; kind <= ERROR_INFO; kind++)
			assert_refused(kind, bad[i]);
}

static void test_zero_bytes_are_refused_everywhere(void **state)
{
	static const char raw[] = "{\"name\":\"a\0b\",\"ack\":true}";
	static const char behind[] = "{\"name\":\"x\",\"ack\":true}\0";
	union record r;

	(void)state;
	assert_refused(HELLO, "{\"name\":\"a\\u0000b\",\"ack\":true}");
	assert_refused(HELLO, "{\"name\":\"a\",\"token\":\"good\\u0000bad\",\"ack\":true}");
	assert_refused(HELLO, "{\"na\\u0000me\":\"a\",\"name\":\"x\",\"ack\":true}");
	assert_refused(SUBSCRIBE, "{\"subject\":\"a\\u0000.b\"}");
	assert_int_equal(decode(HELLO, raw, sizeof(raw) - 1, &r), -EBADMSG);
	assert_int_equal(decode(HELLO, behind, sizeof(behind) - 1, &r), -EBADMSG);
}

static void test_members_given_twice_are_refused(void **state)
{
	(void)state;
	assert_refused(HELLO, "{\"name\":\"x\",\"ack\":true,\"ack\":false}");
	assert_refused(HELLO, "{\"name\":\"x\",\"ack\":true,\"other\":1,\"other\":1}");
}

static void test_types_are_strict(void **state)
{
	static const char *const values[] = {"null", "0", "1.5", "\"true\"", "[]", "{}"};
	char text[200];

	(void)state;
	for (size_t i = 0; i < LENGTH(values); i++) {
		snprintf(text, sizeof(text), "{\"name\":\"x\",\"ack\":%s}", values[i]);
		assert_refused(HELLO, text);
		snprintf(text, sizeof(text), "{\"subject\":\"x\",\"echo\":%s}", values[i]);
		assert_refused(SUBSCRIBE, text);
		if (values[i][0] == '"')
			continue;
		snprintf(text, sizeof(text), "{\"name\":%s,\"ack\":true}", values[i]);
		assert_refused(HELLO, text);
		snprintf(text, sizeof(text), "{\"name\":\"x\",\"ack\":true,\"token\":%s}",
			 values[i]);
		assert_refused(HELLO, text);
		snprintf(text, sizeof(text), "{\"subject\":%s}", values[i]);
		assert_refused(SUBSCRIBE, text);
		snprintf(text, sizeof(text), "{\"subject\":\"x\",\"overflow\":%s}", values[i]);
		assert_refused(SUBSCRIBE, text);
		snprintf(text, sizeof(text), "{\"subject\":\"x\",\"stall_ms\":%s}", values[i]);
		assert_refused(SUBSCRIBE, text);
	}
}

static void test_missing_members_are_refused(void **state)
{
	(void)state;
	assert_refused(HELLO, "{\"name\":\"x\"}");
	assert_refused(HELLO, "{\"ack\":true}");
	assert_refused(HELLO, "{\"Name\":\"x\",\"ack\":true}");
	assert_refused(SUBSCRIBE, "{\"group\":\"x\"}");
	assert_refused(ERROR_INFO, "{\"code\":\"x\"}");
	assert_refused(ERROR_INFO, "{\"message\":\"x\"}");
}

static void hello_of_length(char *text, const char *member, size_t length)
{
	char value[1024];

	memset(value, 'n', length);
	value[length] = '\0';
	if (strcmp(member, "name") == 0)
		sprintf(text, "{\"name\":\"%s\",\"ack\":true}", value);
	else
		sprintf(text, "{\"name\":\"x\",\"%s\":\"%s\",\"ack\":true}", member, value);
}

static void test_strings_are_bounded(void **state)
{
	static const struct {
		const char *member;
		size_t most;
	} bounds[] = {{"name", 128}, {"library", 128}, {"token", 512}};
	char text[2048], subject[300];
	union record r;

	(void)state;
	for (size_t i = 0; i < LENGTH(bounds); i++) {
		hello_of_length(text, bounds[i].member, bounds[i].most);
		assert_taken(HELLO, text, &r);
		hello_of_length(text, bounds[i].member, bounds[i].most + 1);
		assert_refused(HELLO, text);
	}
	memset(subject, 's', sizeof(subject));
	sprintf(text, "{\"subject\":\"%.255s\"}", subject);
	assert_taken(SUBSCRIBE, text, &r);
	assert_int_equal(strlen(r.subscribe.subject), 255);
	sprintf(text, "{\"subject\":\"%.256s\"}", subject);
	assert_refused(SUBSCRIBE, text);
	sprintf(text, "{\"subject\":\"x\",\"group\":\"%.129s\"}", subject);
	assert_refused(SUBSCRIBE, text);
}

static void test_deep_nesting_is_refused_without_harm(void **state)
{
	enum { DEPTH = 65000 };
	char *text = malloc(DEPTH);
	union record r;

	(void)state;
	assert_non_null(text);
	memset(text, '[', DEPTH);
	assert_int_equal(decode(HELLO, text, DEPTH, &r), -EBADMSG);
	for (int i = 0; i + 5 <= DEPTH; i += 5)
		memcpy(text + i, "{\"a\":", 5);
	assert_int_equal(decode(HELLO, text, DEPTH, &r), -EBADMSG);
	free(text);
}

static void test_subscribe_defaults(void **state)
{
	union record r;

	(void)state;
	assert_taken(SUBSCRIBE, "{\"subject\":\"a.*\"}", &r);
	assert_string_equal(r.subscribe.subject, "a.*");
	assert_string_equal(r.subscribe.group, "");
	assert_int_equal(r.subscribe.overflow, XY_OVERFLOW_BLOCK);
	assert_int_equal(r.subscribe.stall_ms, 2000);
	assert_true(r.subscribe.echo);
}

static void test_subscribe_with_all_members(void **state)
{
	static const struct {
		const char *text;
		enum xy_overflow overflow;
	} names[] = {{"block", XY_OVERFLOW_BLOCK},
		     {"drop-oldest", XY_OVERFLOW_DROP_OLDEST},
		     {"drop-newest", XY_OVERFLOW_DROP_NEWEST},
		     {"disconnect", XY_OVERFLOW_DISCONNECT}};
	char text[200];
	union record r;

	(void)state;
	for (size_t i = 0; i < LENGTH(names); i++) {
		snprintf(text, sizeof(text),
			 "{\"subject\":\"a\",\"group\":\"g\",\"overflow\":\"%s\","
			 "\"stall_ms\":1,\"echo\":false}",
			 names[i].text);
		assert_taken(SUBSCRIBE, text, &r);
		assert_string_equal(r.subscribe.group, "g");
		assert_int_equal(r.subscribe.overflow, names[i].overflow);
		assert_int_equal(r.subscribe.stall_ms, 1);
		assert_false(r.subscribe.echo);
		assert_string_equal(xy_overflow_text(names[i].overflow), names[i].text);
	}
	assert_refused(SUBSCRIBE, "{\"subject\":\"a\",\"overflow\":\"Block\"}");
	assert_refused(SUBSCRIBE, "{\"subject\":\"a\",\"overflow\":\"\"}");
	assert_string_equal(xy_overflow_text((enum xy_overflow)4), "");
}

static void test_stall_ms_is_in_range(void **state)
{
	union record r;

	(void)state;
	assert_taken(SUBSCRIBE, "{\"subject\":\"a\",\"stall_ms\":3600000}", &r);
	assert_int_equal(r.subscribe.stall_ms, 3600000);
	assert_refused(SUBSCRIBE, "{\"subject\":\"a\",\"stall_ms\":3600001}");
	assert_refused(SUBSCRIBE, "{\"subject\":\"a\",\"stall_ms\":0}");
	assert_refused(SUBSCRIBE, "{\"subject\":\"a\",\"stall_ms\":-1}");
	assert_refused(SUBSCRIBE, "{\"subject\":\"a\",\"stall_ms\":4294967297}");
	assert_refused(SUBSCRIBE, "{\"subject\":\"a\",\"stall_ms\":2000.0}");
}

#define WELCOME_WITH(endpoint, frame, message, window, heartbeat)                                \
	"{\"endpoint\":\"" endpoint "\",\"server\":\"s\",\"version\":\"v\",\"max_frame\":" frame \
	",\"max_message\":" message ",\"window\":" window ",\"heartbeat_ms\":" heartbeat         \
	",\"lane\":true}"

static void test_welcome_members_and_ranges(void **state)
{
	union record r;

	(void)state;
	assert_taken(WELCOME,
		     WELCOME_WITH("00f0a1b2c3d4e5f6", "65536", "67108864", "1048576", "10000"), &r);
	assert_int_equal(r.welcome.endpoint, 0x00f0a1b2c3d4e5f6);
	assert_string_equal(r.welcome.server, "s");
	assert_string_equal(r.welcome.version, "v");
	assert_int_equal(r.welcome.max_frame, 65536);
	assert_int_equal(r.welcome.max_message, 67108864);
	assert_int_equal(r.welcome.window, 1048576);
	assert_int_equal(r.welcome.heartbeat_ms, 10000);
	assert_true(r.welcome.lane);
	assert_refused(WELCOME, WELCOME_WITH("00f0a1b2c3d4e5f", "65536", "1", "1", "1"));
	assert_refused(WELCOME, WELCOME_WITH("00f0a1b2c3d4e5f60", "65536", "1", "1", "1"));
	assert_refused(WELCOME, WELCOME_WITH("00F0A1B2C3D4E5F6", "65536", "1", "1", "1"));
	assert_refused(WELCOME, WELCOME_WITH("0x00a1b2c3d4e5f6", "65536", "1", "1", "1"));
	assert_refused(WELCOME, WELCOME_WITH("0000000000000000", "65536", "1", "1", "1"));
	assert_refused(WELCOME, WELCOME_WITH("00f0a1b2c3d4e5f6", "60", "1", "1", "1"));
	assert_refused(WELCOME, WELCOME_WITH("00f0a1b2c3d4e5f6", "65537", "1", "1", "1"));
	assert_refused(WELCOME, WELCOME_WITH("00f0a1b2c3d4e5f6", "65536", "0", "1", "1"));
	assert_refused(WELCOME, WELCOME_WITH("00f0a1b2c3d4e5f6", "65536", "1", "-1", "1"));
	assert_refused(WELCOME, WELCOME_WITH("00f0a1b2c3d4e5f6", "65536", "1", "1", "0"));
	assert_refused(WELCOME, WELCOME_WITH("00f0a1b2c3d4e5f6", "65536", "1", "1", "4294967296"));
}

static void test_error_message_is_cut_between_characters(void **state)
{
	char text[1200] = "{\"code\":\"bad-json\",\"message\":\"";
	union record r;

	(void)state;
	for (int i = 0; i < 200; i++)
		strcat(text, "\xc3\xa9");
	strcat(text, "\"}");
	assert_taken(ERROR_INFO, text, &r);
	assert_string_equal(r.error.code, "bad-json");
	assert_int_equal(strlen(r.error.message), 254);
	assert_string_equal(r.error.message + 252, "\xc3\xa9");
}

static void test_hello_goes_both_ways(void **state)
{
	struct xy_hello hello = {
		.name = "n\"\\\n\xe6\x97\xa5", .token = "t", .library = "l", .ack = true};
	char buffer[2048];
	union record r;
	ssize_t length = xy_hello_encode(&hello, buffer, sizeof(buffer));

	(void)state;
	assert_true(length > 0);
	assert_int_equal(decode(HELLO, buffer, (size_t)length, &r), 0);
	assert_string_equal(r.hello.name, hello.name);
	assert_string_equal(r.hello.token, hello.token);
	assert_string_equal(r.hello.library, hello.library);
	assert_true(r.hello.ack);

	hello = (struct xy_hello){.name = "n"};
	length = xy_hello_encode(&hello, buffer, sizeof(buffer));
	assert_int_equal(length, strlen("{\"name\":\"n\",\"ack\":false}"));
	assert_memory_equal(buffer, "{\"name\":\"n\",\"ack\":false}", (size_t)length);
}

static void test_welcome_goes_both_ways(void **state)
{
	struct xy_welcome welcome = {.endpoint = 0xab,
				     .server = "xylem",
				     .version = "1.2",
				     .max_frame = 65536,
				     .max_message = INT64_MAX,
				     .window = 262144,
				     .heartbeat_ms = UINT32_MAX,
				     .lane = true};
	char buffer[2048];
	union record r;
	ssize_t length = xy_welcome_encode(&welcome, buffer, sizeof(buffer));

	(void)state;
	assert_true(length > 0);
	buffer[length] = '\0';
	assert_non_null(strstr(buffer, "\"endpoint\":\"00000000000000ab\""));
	assert_int_equal(decode(WELCOME, buffer, (size_t)length, &r), 0);
	assert_int_equal(r.welcome.endpoint, welcome.endpoint);
	assert_string_equal(r.welcome.server, welcome.server);
	assert_string_equal(r.welcome.version, welcome.version);
	assert_int_equal(r.welcome.max_frame, welcome.max_frame);
	assert_int_equal(r.welcome.max_message, welcome.max_message);
	assert_int_equal(r.welcome.window, welcome.window);
	assert_int_equal(r.welcome.heartbeat_ms, welcome.heartbeat_ms);
	assert_true(r.welcome.lane);

	welcome.max_message = (uint64_t)INT64_MAX + 1;
	assert_int_equal(xy_welcome_encode(&welcome, buffer, sizeof(buffer)), -EINVAL);
}

static void test_subscribe_goes_both_ways(void **state)
{
	struct xy_subscribe subscribe = {.subject = "a.>",
					 .group = "workers",
					 .overflow = XY_OVERFLOW_DROP_OLDEST,
					 .stall_ms = 17};
	char buffer[2048];
	union record r;
	ssize_t length = xy_subscribe_encode(&subscribe, buffer, sizeof(buffer));

	(void)state;
	assert_true(length > 0);
	assert_int_equal(decode(SUBSCRIBE, buffer, (size_t)length, &r), 0);
	assert_string_equal(r.subscribe.subject, subscribe.subject);
	assert_string_equal(r.subscribe.group, subscribe.group);
	assert_int_equal(r.subscribe.overflow, subscribe.overflow);
	assert_int_equal(r.subscribe.stall_ms, subscribe.stall_ms);
	assert_false(r.subscribe.echo);
}

static void test_every_error_goes_both_ways_whatever_its_message(void **state)
{
	char buffer[2048], message[400];
	union record r;

	(void)state;
	for (int error = XY_ERROR_NONE + 1; error < XY_ERROR_COUNT; error++) {
		ssize_t length = xy_error_encode((enum xy_error)error, "caf\xc3\xa9 \xff\xe2\x82",
						 buffer, sizeof(buffer));

		assert_true(length > 0);
		assert_int_equal(decode(ERROR_INFO, buffer, (size_t)length, &r), 0);
		assert_int_equal(xy_error_from_text(r.error.code), error);
		assert_string_equal(r.error.message, "caf\xc3\xa9 \?\?\?");
	}
	memset(message, 'm', sizeof(message));
	message[sizeof(message) - 1] = '\0';
	assert_int_equal(
		decode(ERROR_INFO, buffer,
		       (size_t)xy_error_encode(XY_E_BAD_JSON, message, buffer, sizeof(buffer)), &r),
		0);
	assert_int_equal(strlen(r.error.message), 255);
}

static void test_encoders_keep_to_their_buffer(void **state)
{
	static const char expected[] = "{\"name\":\"name\",\"ack\":true}";
	struct xy_hello hello = {.name = "name", .ack = true};
	char buffer[64];

	(void)state;
	for (size_t size = 0; size < sizeof(expected) - 1; size++) {
		memset(buffer, 0x5a, sizeof(buffer));
		assert_int_equal(xy_hello_encode(&hello, buffer, size), -ENOSPC);
		for (size_t i = size; i < sizeof(buffer); i++)
			assert_int_equal(buffer[i], 0x5a);
	}
	memset(buffer, 0x5a, sizeof(buffer));
	assert_int_equal(xy_hello_encode(&hello, buffer, sizeof(expected) - 1),
			 sizeof(expected) - 1);
	assert_memory_equal(buffer, expected, sizeof(expected) - 1);
	assert_int_equal(buffer[sizeof(expected) - 1], 0x5a);
}

static void test_encoders_refuse_text_that_is_not_utf8(void **state)
{
	struct xy_hello hello = {.name = "\xff"};
	struct xy_subscribe subscribe = {.subject = "a.\xc3"};
	char buffer[256];

	(void)state;
	assert_int_equal(xy_hello_encode(&hello, buffer, sizeof(buffer)), -EINVAL);
	assert_int_equal(xy_subscribe_encode(&subscribe, buffer, sizeof(buffer)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello_with_all_members),
		cmocka_unit_test(test_hello_with_required_members_only),
		cmocka_unit_test(test_what_is_not_one_object_is_refused),
		cmocka_unit_test(test_zero_bytes_are_refused_everywhere),
		cmocka_unit_test(test_members_given_twice_are_refused),
		cmocka_unit_test(test_types_are_strict),
		cmocka_unit_test(test_missing_members_are_refused),
		cmocka_unit_test(test_strings_are_bounded),
		cmocka_unit_test(test_deep_nesting_is_refused_without_harm),
		cmocka_unit_test(test_subscribe_defaults),
		cmocka_unit_test(test_subscribe_with_all_members),
		cmocka_unit_test(test_stall_ms_is_in_range),
		cmocka_unit_test(test_welcome_members_and_ranges),
		cmocka_unit_test(test_error_message_is_cut_between_characters),
		cmocka_unit_test(test_hello_goes_both_ways),
		cmocka_unit_test(test_welcome_goes_both_ways),
		cmocka_unit_test(test_subscribe_goes_both_ways),
		cmocka_unit_test(test_every_error_goes_both_ways_whatever_its_message),
		cmocka_unit_test(test_encoders_keep_to_their_buffer),
		cmocka_unit_test(test_encoders_refuse_text_that_is_not_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
