/* SPDX-License-Identifier: BSD-2-Clause */
/* The frame codec and the checks of a frame, against bytes written out by hand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"

#define ENDPOINT    0x0102030405060708ull
#define MAX_MESSAGE ((uint64_t)XY_MESSAGE_MAX_DEFAULT)
#define LENGTH(a)   (sizeof(a) / sizeof((a)[0]))

struct vector {
	const char *name;
	struct xy_frame frame;
	uint8_t bytes[XY_HEADER_SIZE];
};

#define U64(a, b, c, d, e, f, g, h) 0x##a, 0x##b, 0x##c, 0x##d, 0x##e, 0x##f, 0x##g, 0x##h
#define ZERO64                      U64(00, 00, 00, 00, 00, 00, 00, 00)
#define SOURCE64                    U64(01, 02, 03, 04, 05, 06, 07, 08)

/* clang-format off */
static const struct vector vectors[] = {
	{"HELLO", {.length = 90, .version = 1, .type = 1},
	 {0, 0, 0, 90, 1, 1, 0, 0, ZERO64, ZERO64, ZERO64, ZERO64, ZERO64, ZERO64, 0, 0, 0, 0}},
	{"WELCOME", {.length = 300, .version = 1, .type = 2, .target = ENDPOINT},
	 {0, 0, 1, 0x2c, 1, 2, 0, 0, SOURCE64, ZERO64, ZERO64, ZERO64, ZERO64, ZERO64, 0, 0, 0, 0}},
	{"SYNC", {.length = 60, .version = 1, .type = 3, .source = ENDPOINT, .ack = 0x10000,
		  .correlation = 2},
	 {0, 0, 0, 60, 1, 3, 0, 0, ZERO64, SOURCE64, ZERO64, ZERO64,
	  U64(00, 00, 00, 00, 00, 01, 00, 00), U64(00, 00, 00, 00, 00, 00, 00, 02), 0, 0, 0, 0}},
	{"SYNCED", {.length = 60, .version = 1, .type = 4, .flags = XY_LANE, .correlation = 2},
	 {0, 0, 0, 60, 1, 4, 0, 8, ZERO64, ZERO64, ZERO64, ZERO64, ZERO64,
	  U64(00, 00, 00, 00, 00, 00, 00, 02), 0, 0, 0, 0}},
	{"SYNC_WANTED", {.length = 60, .version = 1, .type = 5},
	 {0, 0, 0, 60, 1, 5, 0, 0, ZERO64, ZERO64, ZERO64, ZERO64, ZERO64, ZERO64, 0, 0, 0, 0}},
	{"DECLARE", {.length = 66, .version = 1, .type = 6, .source = ENDPOINT, .correlation = 255},
	 {0, 0, 0, 66, 1, 6, 0, 0, ZERO64, SOURCE64, ZERO64, ZERO64, ZERO64,
	  U64(00, 00, 00, 00, 00, 00, 00, ff), 0, 0, 0, 0}},
	{"BINDING", {.length = 66, .version = 1, .type = 7, .target = 0xfedcba9876543210},
	 {0, 0, 0, 66, 1, 7, 0, 0, U64(fe, dc, ba, 98, 76, 54, 32, 10), ZERO64, ZERO64, ZERO64,
	  ZERO64, ZERO64, 0, 0, 0, 0}},
	{"SUBSCRIBE", {.length = 80, .version = 1, .type = 8, .source = ENDPOINT, .correlation = 7},
	 {0, 0, 0, 80, 1, 8, 0, 0, ZERO64, SOURCE64, ZERO64, ZERO64, ZERO64,
	  U64(00, 00, 00, 00, 00, 00, 00, 07), 0, 0, 0, 0}},
	{"UNSUBSCRIBE", {.length = 60, .version = 1, .type = 9, .target = 0xa0, .source = ENDPOINT,
			 .correlation = 8},
	 {0, 0, 0, 60, 1, 9, 0, 0, U64(00, 00, 00, 00, 00, 00, 00, a0), SOURCE64, ZERO64, ZERO64,
	  ZERO64, U64(00, 00, 00, 00, 00, 00, 00, 08), 0, 0, 0, 0}},
	{"OK", {.length = 60, .version = 1, .type = 10, .target = 0xa0, .correlation = 8},
	 {0, 0, 0, 60, 1, 10, 0, 0, U64(00, 00, 00, 00, 00, 00, 00, a0), ZERO64, ZERO64, ZERO64,
	  ZERO64, U64(00, 00, 00, 00, 00, 00, 00, 08), 0, 0, 0, 0}},
	{"ERROR", {.length = 101, .version = 1, .type = 11, .target = 0xa1, .sequence = 3,
		   .correlation = 9},
	 {0, 0, 0, 101, 1, 11, 0, 0, U64(00, 00, 00, 00, 00, 00, 00, a1), ZERO64,
	  U64(00, 00, 00, 00, 00, 00, 00, 03), ZERO64, ZERO64, U64(00, 00, 00, 00, 00, 00, 00, 09),
	  0, 0, 0, 0}},
	{"DATA", {.length = 65536, .version = 1, .type = 12,
		  .flags = XY_DIRECT | XY_REPLY_WANTED | XY_CRC,
		  .target = 0x1112131415161718, .source = ENDPOINT,
		  .sequence = 0x2122232425262728, .timestamp = 0x3132333435363738,
		  .ack = 0x4142434445464748, .correlation = 0x5152535455565758,
		  .fragment = 0x6162, .fragments = 0x7172},
	 {0, 1, 0, 0, 1, 12, 0, 7, U64(11, 12, 13, 14, 15, 16, 17, 18), SOURCE64,
	  U64(21, 22, 23, 24, 25, 26, 27, 28), U64(31, 32, 33, 34, 35, 36, 37, 38),
	  U64(41, 42, 43, 44, 45, 46, 47, 48), U64(51, 52, 53, 54, 55, 56, 57, 58),
	  0x61, 0x62, 0x71, 0x72}},
	{"ACK", {.length = 60, .version = 1, .type = 13, .source = ENDPOINT, .ack = UINT64_MAX},
	 {0, 0, 0, 60, 1, 13, 0, 0, ZERO64, SOURCE64, ZERO64, ZERO64,
	  U64(ff, ff, ff, ff, ff, ff, ff, ff), ZERO64, 0, 0, 0, 0}},
	{"PING", {.length = 68, .version = 1, .type = 14, .correlation = 1},
	 {0, 0, 0, 68, 1, 14, 0, 0, ZERO64, ZERO64, ZERO64, ZERO64, ZERO64,
	  U64(00, 00, 00, 00, 00, 00, 00, 01), 0, 0, 0, 0}},
	{"PONG", {.length = 68, .version = 1, .type = 15, .source = ENDPOINT, .correlation = 1},
	 {0, 0, 0, 68, 1, 15, 0, 0, ZERO64, SOURCE64, ZERO64, ZERO64, ZERO64,
	  U64(00, 00, 00, 00, 00, 00, 00, 01), 0, 0, 0, 0}},
	{"GOODBYE", {.length = 60, .version = 1, .type = 16, .source = ENDPOINT},
	 {0, 0, 0, 60, 1, 16, 0, 0, ZERO64, SOURCE64, ZERO64, ZERO64, ZERO64, ZERO64, 0, 0, 0, 0}},
};
/* clang-format on */

static void assert_frames_equal(const struct xy_frame *a, const struct xy_frame *b)
{
	assert_int_equal(a->length, b->length);
	assert_int_equal(a->version, b->version);
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->target, b->target);
	assert_int_equal(a->source, b->source);
	assert_int_equal(a->sequence, b->sequence);
	assert_int_equal(a->timestamp, b->timestamp);
	assert_int_equal(a->ack, b->ack);
	assert_int_equal(a->correlation, b->correlation);
	assert_int_equal(a->fragment, b->fragment);
	assert_int_equal(a->fragments, b->fragments);
}

static void test_every_type_encodes_to_its_bytes(void **state)
{
	(void)state;
	assert_int_equal(LENGTH(vectors), 16);
	for (size_t i = 0; i < LENGTH(vectors); i++) {
		uint8_t bytes[XY_HEADER_SIZE];

		xy_frame_encode(&vectors[i].frame, bytes);
		assert_memory_equal(bytes, vectors[i].bytes, XY_HEADER_SIZE);
		assert_string_equal(xy_type_name(bytes[5]), vectors[i].name);
	}
}

static void test_every_type_decodes_from_its_bytes_at_any_alignment(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH(vectors); i++) {
		for (size_t offset = 0; offset < 8; offset++) {
			uint8_t bytes[XY_HEADER_SIZE + 8];
			struct xy_frame frame;

			memcpy(bytes + offset, vectors[i].bytes, XY_HEADER_SIZE);
			xy_frame_decode(bytes + offset, &frame);
			assert_frames_equal(&frame, &vectors[i].frame);
		}
	}
}

static void test_type_names_of_unknown_types(void **state)
{
	(void)state;
	assert_string_equal(xy_type_name(0), "unknown");
	for (int type = 17; type < 256; type++)
		assert_string_equal(xy_type_name((uint8_t)type), "unknown");
}

static void test_errors_close_as_the_protocol_says(void **state)
{
	static const char *const closing[] = {"bad-frame",     "bad-version",   "bad-type",
					      "bad-source",    "hello-timeout", "unauthorized",
					      "slow-consumer", "shutting-down"};
	static const char *const open[] = {
		"bad-subject",          "bad-json",         "bad-flags",
		"bad-fragment",         "too-large",        "forbidden",
		"unknown-topic",        "unknown-endpoint", "no-responders",
		"unknown-subscription", "overloaded"};

	(void)state;
	assert_int_equal(LENGTH(closing) + LENGTH(open), XY_ERROR_COUNT - 1);
	for (size_t i = 0; i < LENGTH(closing); i++)
		assert_true(xy_error_closes(xy_error_from_text(closing[i])));
	for (size_t i = 0; i < LENGTH(open); i++) {
		assert_int_not_equal(xy_error_from_text(open[i]), XY_ERROR_NONE);
		assert_false(xy_error_closes(xy_error_from_text(open[i])));
	}
}

static void test_error_texts_go_both_ways_and_each_has_an_errno(void **state)
{
	(void)state;
	for (int error = XY_ERROR_NONE + 1; error < XY_ERROR_COUNT; error++) {
		assert_int_equal(xy_error_from_text(xy_error_text((enum xy_error)error)), error);
		assert_true(xy_error_errno((enum xy_error)error) < 0);
	}
	assert_string_equal(xy_error_text(XY_ERROR_NONE), "");
	assert_string_equal(xy_error_text(XY_ERROR_COUNT), "");
	assert_int_equal(xy_error_errno(XY_ERROR_NONE), 0);
	assert_int_equal(xy_error_errno(XY_E_NO_RESPONDERS), -ENOENT);
	assert_int_equal(xy_error_from_text(""), XY_ERROR_NONE);
	assert_int_equal(xy_error_from_text("bad-frames"), XY_ERROR_NONE);
	assert_false(xy_error_closes(XY_ERROR_NONE));
	assert_false(xy_error_closes(XY_ERROR_COUNT));
}

static struct xy_frame frame_of(uint8_t type, uint64_t source)
{
	return (struct xy_frame){
		.length = XY_HEADER_SIZE, .version = 1, .type = type, .source = source};
}

static void test_length_is_bounded_on_both_sides(void **state)
{
	static const uint32_t bad[] = {0, 1, 59, 65537, 1u << 31, UINT32_MAX};
	struct xy_frame frame = frame_of(XY_DATA, ENDPOINT);
	struct xy_frame hello = frame_of(XY_HELLO, 0);

	(void)state;
	for (size_t i = 0; i < LENGTH(bad); i++) {
		frame.length = hello.length = bad[i];
		assert_int_equal(xy_frame_check(&frame, ENDPOINT), XY_E_BAD_FRAME);
		assert_int_equal(xy_frame_check_hello(&hello), XY_E_BAD_FRAME);
	}
	frame.length = hello.length = 60;
	assert_int_equal(xy_frame_check(&frame, ENDPOINT), XY_ERROR_NONE);
	assert_int_equal(xy_frame_check_hello(&hello), XY_ERROR_NONE);
	frame.length = hello.length = 65536;
	assert_int_equal(xy_frame_check(&frame, ENDPOINT), XY_ERROR_NONE);
	assert_int_equal(xy_frame_check_hello(&hello), XY_ERROR_NONE);
}

static void test_only_version_1_passes(void **state)
{
	(void)state;
	for (int version = 0; version < 256; version++) {
		struct xy_frame frame = frame_of(XY_DATA, ENDPOINT);
		struct xy_frame hello = frame_of(XY_HELLO, 0);
		enum xy_error expected = version == 1 ? XY_ERROR_NONE : XY_E_BAD_VERSION;

		frame.version = hello.version = (uint8_t)version;
		assert_int_equal(xy_frame_check(&frame, ENDPOINT), expected);
		assert_int_equal(xy_frame_check_hello(&hello), expected);
	}
}

static void test_only_types_of_a_client_pass(void **state)
{
	static const uint8_t good[] = {3, 6, 8, 9, 12, 13, 14, 15, 16};

	(void)state;
	for (int type = 0; type < 256; type++) {
		struct xy_frame frame = frame_of((uint8_t)type, ENDPOINT);
		bool expected = memchr(good, type, sizeof(good)) != NULL;

		assert_int_equal(xy_frame_check(&frame, ENDPOINT),
				 expected ? XY_ERROR_NONE : XY_E_BAD_TYPE);
		frame.source = 0;
		assert_int_equal(xy_frame_check_hello(&frame),
				 type == XY_HELLO ? XY_ERROR_NONE : XY_E_BAD_FRAME);
	}
}

static void test_only_the_own_source_passes(void **state)
{
	struct xy_frame frame = frame_of(XY_DATA, ENDPOINT + 1);
	struct xy_frame hello = frame_of(XY_HELLO, ENDPOINT);

	(void)state;
	assert_int_equal(xy_frame_check(&frame, ENDPOINT), XY_E_BAD_SOURCE);
	frame.source = 0;
	assert_int_equal(xy_frame_check(&frame, ENDPOINT), XY_E_BAD_SOURCE);
	assert_int_equal(xy_frame_check_hello(&hello), XY_E_BAD_SOURCE);
}

static void test_checks_come_in_the_order_of_the_protocol(void **state)
{
	struct xy_frame frame = {.length = 59, .version = 2, .type = XY_OK, .source = 1};

	(void)state;
	assert_int_equal(xy_frame_check(&frame, ENDPOINT), XY_E_BAD_FRAME);
	frame.length = 60;
	assert_int_equal(xy_frame_check(&frame, ENDPOINT), XY_E_BAD_VERSION);
	assert_int_equal(xy_frame_check_hello(&frame), XY_E_BAD_VERSION);
	frame.version = 1;
	assert_int_equal(xy_frame_check(&frame, ENDPOINT), XY_E_BAD_TYPE);
	assert_int_equal(xy_frame_check_hello(&frame), XY_E_BAD_FRAME);
	frame.type = XY_DATA;
	assert_int_equal(xy_frame_check(&frame, ENDPOINT), XY_E_BAD_SOURCE);
}

static void test_every_combination_of_flags(void **state)
{
	(void)state;
	for (uint32_t flags = 0; flags <= UINT16_MAX; flags++) {
		struct xy_frame frame = frame_of(XY_DATA, ENDPOINT);
		bool good =
			(flags & ~(uint32_t)XY_DATA_FLAGS) == 0 &&
			(flags & (XY_BUNDLE | XY_REPLY_WANTED)) != (XY_BUNDLE | XY_REPLY_WANTED);

		frame.length = 64;
		frame.flags = (uint16_t)flags;
		assert_int_equal(xy_frame_check_data(&frame, MAX_MESSAGE),
				 good ? XY_ERROR_NONE : XY_E_BAD_FLAGS);
	}
}

static void test_crc_needs_room_for_it(void **state)
{
	(void)state;
	for (uint32_t length = 60; length <= 66; length++) {
		struct xy_frame frame = frame_of(XY_DATA, ENDPOINT);

		frame.length = length;
		assert_int_equal(xy_frame_check_data(&frame, MAX_MESSAGE), XY_ERROR_NONE);
		frame.flags = XY_CRC;
		assert_int_equal(xy_frame_check_data(&frame, MAX_MESSAGE),
				 length >= 64 ? XY_ERROR_NONE : XY_E_BAD_FLAGS);
	}
}

static enum xy_error check_fragment(uint16_t fragment, uint16_t fragments, uint64_t sequence,
				    uint16_t flags, uint64_t max_message)
{
	struct xy_frame frame = frame_of(XY_DATA, ENDPOINT);

	frame.fragment = fragment;
	frame.fragments = fragments;
	frame.sequence = sequence;
	frame.flags = flags;
	return xy_frame_check_data(&frame, max_message);
}

static void test_fragment_rules(void **state)
{
	(void)state;
	assert_int_equal(check_fragment(0, 0, 0, 0, MAX_MESSAGE), XY_ERROR_NONE);
	assert_int_equal(check_fragment(0, 1, 0, 0, MAX_MESSAGE), XY_ERROR_NONE);
	assert_int_equal(check_fragment(0, 1, 1, XY_BUNDLE, MAX_MESSAGE), XY_ERROR_NONE);
	assert_int_equal(check_fragment(1, 0, 1, 0, MAX_MESSAGE), XY_E_BAD_FRAGMENT);
	assert_int_equal(check_fragment(1, 1, 1, 0, MAX_MESSAGE), XY_E_BAD_FRAGMENT);
	assert_int_equal(check_fragment(0, 2, 1, 0, MAX_MESSAGE), XY_ERROR_NONE);
	assert_int_equal(check_fragment(1, 2, 1, XY_REPLY_WANTED, MAX_MESSAGE), XY_ERROR_NONE);
	assert_int_equal(check_fragment(2, 2, 1, 0, MAX_MESSAGE), XY_E_BAD_FRAGMENT);
	assert_int_equal(check_fragment(65535, 2, 1, 0, MAX_MESSAGE), XY_E_BAD_FRAGMENT);
	assert_int_equal(check_fragment(0, 2, 0, 0, MAX_MESSAGE), XY_E_BAD_FRAGMENT);
	assert_int_equal(check_fragment(0, 2, 1, XY_BUNDLE, MAX_MESSAGE), XY_E_BAD_FRAGMENT);
}

static void test_largest_message_is_rounded_up_to_whole_frames(void **state)
{
	(void)state;
	/* 64 MiB is 1024.94 frames. */
	assert_int_equal(check_fragment(1024, 1025, 1, 0, MAX_MESSAGE), XY_ERROR_NONE);
	assert_int_equal(check_fragment(1024, 1026, 1, 0, MAX_MESSAGE), XY_E_TOO_LARGE);
	assert_int_equal(check_fragment(0, 65535, 1, 0, MAX_MESSAGE), XY_E_TOO_LARGE);
	/* A malformed fragment is that, however long its message. */
	assert_int_equal(check_fragment(65535, 65535, 1, 0, MAX_MESSAGE), XY_E_BAD_FRAGMENT);

	assert_int_equal(check_fragment(1, 2, 1, 0, 2 * XY_PAYLOAD_MAX), XY_ERROR_NONE);
	assert_int_equal(check_fragment(1, 3, 1, 0, 2 * XY_PAYLOAD_MAX), XY_E_TOO_LARGE);
	assert_int_equal(check_fragment(1, 3, 1, 0, 2 * XY_PAYLOAD_MAX + 1), XY_ERROR_NONE);
	assert_int_equal(check_fragment(1, 2, 1, 0, 1), XY_E_TOO_LARGE);
	assert_int_equal(check_fragment(0, 1, 1, 0, 1), XY_ERROR_NONE);
	assert_int_equal(check_fragment(0, 65535, 1, 0, UINT64_MAX), XY_ERROR_NONE);
}

static void test_data_checks_come_in_order(void **state)
{
	(void)state;
	assert_int_equal(check_fragment(9, 2, 1, 0x8000, MAX_MESSAGE), XY_E_BAD_FLAGS);
	assert_int_equal(check_fragment(9, 2, 1, XY_CRC, MAX_MESSAGE), XY_E_BAD_FLAGS);
	assert_int_equal(check_fragment(0, 65535, 1, XY_BUNDLE, MAX_MESSAGE), XY_E_BAD_FRAGMENT);
}

static void test_crc32c_known_values(void **state)
{
	uint8_t bytes[32];

	(void)state;
	assert_int_equal(xy_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(xy_crc32c(0, "", 0), 0);
	/* RFC 3720, B.4 */
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(xy_crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(xy_crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(xy_crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
}

static void test_crc32c_chains_at_every_cut(void **state)
{
	static uint8_t bytes[5000];
	uint32_t whole;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	whole = xy_crc32c(0, bytes, sizeof(bytes));
	for (size_t cut = 0; cut <= sizeof(bytes); cut++) {
		uint32_t front = xy_crc32c(0, bytes, cut);

		assert_int_equal(xy_crc32c(front, bytes + cut, sizeof(bytes) - cut), whole);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_type_encodes_to_its_bytes),
		cmocka_unit_test(test_every_type_decodes_from_its_bytes_at_any_alignment),
		cmocka_unit_test(test_type_names_of_unknown_types),
		cmocka_unit_test(test_errors_close_as_the_protocol_says),
		cmocka_unit_test(test_error_texts_go_both_ways_and_each_has_an_errno),
		cmocka_unit_test(test_length_is_bounded_on_both_sides),
		cmocka_unit_test(test_only_version_1_passes),
		cmocka_unit_test(test_only_types_of_a_client_pass),
		cmocka_unit_test(test_only_the_own_source_passes),
		cmocka_unit_test(test_checks_come_in_the_order_of_the_protocol),
		cmocka_unit_test(test_every_combination_of_flags),
		cmocka_unit_test(test_crc_needs_room_for_it),
		cmocka_unit_test(test_fragment_rules),
		cmocka_unit_test(test_largest_message_is_rounded_up_to_whole_frames),
		cmocka_unit_test(test_data_checks_come_in_order),
		cmocka_unit_test(test_crc32c_known_values),
		cmocka_unit_test(test_crc32c_chains_at_every_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
