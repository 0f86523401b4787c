/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "proto/utf8.h"

#define STALL_MS_MAX  3600000
#define ENDPOINT_SIZE 16 /* hex digits */

static const char *const overflow_names[] = {
	[XY_OVERFLOW_BLOCK] = "block",
	[XY_OVERFLOW_DROP_OLDEST] = "drop-oldest",
	[XY_OVERFLOW_DROP_NEWEST] = "drop-newest",
	[XY_OVERFLOW_DISCONNECT] = "disconnect",
};
#define OVERFLOW_COUNT (sizeof(overflow_names) / sizeof(overflow_names[0]))

const char *xy_overflow_text(enum xy_overflow overflow)
{
	return (size_t)overflow < OVERFLOW_COUNT ? overflow_names[overflow] : "";
}

int xy_overflow_from_text(const char *text, enum xy_overflow *ret_overflow)
{
	for (size_t i = 0; i < OVERFLOW_COUNT; i++) {
		if (strcmp(overflow_names[i], text) == 0) {
			*ret_overflow = (enum xy_overflow)i;
			return 0;
		}
	}
	return -EINVAL;
}

static bool is_utf8(const char *text)
{
	size_t left = strlen(text), bytes = 1;
	uint32_t character;

	for (; left > 0 && bytes != 0; text += bytes, left -= bytes)
		bytes = xy_utf8_decode(text, left, &character);
	return bytes != 0;
}

/* Text for people, whatever bytes it came from: what is no UTF-8 becomes a question mark, and what
 * does not fit is cut between two characters. */
static void text_clean(char *to, size_t size, const char *text)
{
	size_t used = 0, left = strlen(text);

	while (left > 0) {
		uint32_t character;
		size_t bytes = xy_utf8_decode(text, left, &character);
		size_t step = bytes != 0 ? bytes : 1;

		if (used + step > size - 1)
			break;
		memcpy(to + used, bytes != 0 ? text : "?", step);
		used += step;
		text += step;
		left -= step;
	}
	to[used] = '\0';
}

/* ---- decoding -------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static int refuse(char *why, const char *format, ...)
{
	va_list arguments;

	if (why != NULL) {
		va_start(arguments, format);
		vsnprintf(why, XY_WHY_SIZE, format, arguments);
		va_end(arguments);
	}
	return -EBADMSG;
}

/* Whether an allocation of jansson failed in this thread: its parser calls that an error of syntax.
 */
static _Thread_local bool starved;

static void *starving_malloc(size_t size)
{
	void *memory = malloc(size);

	starved = starved || !memory;
	return memory;
}

void xy_json_watch_memory(void)
{
	json_set_alloc_funcs(starving_malloc, free);
}

/* The object in the payload, or NULL with a sentence in why. jansson refuses invalid UTF-8, \u0000
 * and what nests deeper than 2048 levels; of a member given twice no two readers take the same. */
static json_t *object_parse(const void *data, size_t length, char *why, int *ret_error)
{
	json_error_t error;
	json_t *object;

	starved = false;
	object = json_loadb(data, length, JSON_REJECT_DUPLICATES, &error);
	*ret_error = -EBADMSG;
	if (object == NULL && starved) {
		*ret_error = -ENOMEM;
		refuse(why, "out of memory");
		return NULL;
	}
	if (object == NULL) {
		/* jansson's own text quotes the payload; the position tells as much. */
		refuse(why, "not a JSON text: error at byte %d", error.position);
		return NULL;
	}
	if (!json_is_object(object)) {
		json_decref(object);
		refuse(why, "the payload is not a JSON object");
		return NULL;
	}
	return object;
}

/* Copies a member of at most size - 1 bytes. One that is missing leaves *to as it was; when it is
 * required, that is refused. */
static int member_string(const json_t *object, const char *name, bool required, char *to,
			 size_t size, char *why)
{
	const json_t *value = json_object_get(object, name);

	if (value == NULL)
		return required ? refuse(why, "member \"%s\" is missing", name) : 0;
	if (!json_is_string(value))
		return refuse(why, "member \"%s\" is not a string", name);
	if (json_string_length(value) >= size)
		return refuse(why, "member \"%s\" is longer than %zu bytes", name, size - 1);
	memcpy(to, json_string_value(value), json_string_length(value) + 1);
	return 0;
}

static int member_bool(const json_t *object, const char *name, bool required, bool *to, char *why)
{
	const json_t *value = json_object_get(object, name);

	if (value == NULL)
		return required ? refuse(why, "member \"%s\" is missing", name) : 0;
	if (!json_is_boolean(value))
		return refuse(why, "member \"%s\" is not true or false", name);
	*to = json_is_true(value);
	return 0;
}

static int member_integer(const json_t *object, const char *name, bool required, int64_t smallest,
			  int64_t largest, int64_t *to, char *why)
{
	const json_t *value = json_object_get(object, name);

	if (value == NULL)
		return required ? refuse(why, "member \"%s\" is missing", name) : 0;
	if (!json_is_integer(value))
		return refuse(why, "member \"%s\" is not an integer", name);
	if (json_integer_value(value) < smallest || json_integer_value(value) > largest)
		return refuse(why, "member \"%s\" is not in %" PRId64 " ... %" PRId64, name,
			      smallest, largest);
	*to = json_integer_value(value);
	return 0;
}

static int member_endpoint(const json_t *object, uint64_t *to, char *why)
{
	char text[ENDPOINT_SIZE + 1] = "";
	uint64_t endpoint = 0;
	int r;

	r = member_string(object, "endpoint", true, text, sizeof(text), why);
	if (r < 0)
		return r;
	if (strspn(text, "0123456789abcdef") != ENDPOINT_SIZE ||
	    sscanf(text, "%16" SCNx64, &endpoint) != 1 || endpoint == 0)
		return refuse(why,
			      "member \"endpoint\" is not 16 lower-case hex digits, not all 0");
	*to = endpoint;
	return 0;
}

int xy_hello_decode(const void *data, size_t length, struct xy_hello *ret, char why[XY_WHY_SIZE])
{
	struct xy_hello hello = {0};
	int r;
	json_t *object = object_parse(data, length, why, &r);

	if (object == NULL)
		return r;
	r = member_string(object, "name", true, hello.name, sizeof(hello.name), why);
	if (r == 0)
		r = member_string(object, "token", false, hello.token, sizeof(hello.token), why);
	if (r == 0)
		r = member_string(object, "library", false, hello.library, sizeof(hello.library),
				  why);
	if (r == 0)
		r = member_bool(object, "ack", true, &hello.ack, why);
	if (r == 0)
		*ret = hello;
	json_decref(object);
	return r;
}

int xy_welcome_decode(const void *data, size_t length, struct xy_welcome *ret,
		      char why[XY_WHY_SIZE])
{
	struct xy_welcome welcome = {0};
	int64_t max_frame = 0, max_message = 0, window = 0, heartbeat_ms = 0;
	int r;
	json_t *object = object_parse(data, length, why, &r);

	if (object == NULL)
		return r;
	r = member_endpoint(object, &welcome.endpoint, why);
	if (r == 0)
		r = member_string(object, "server", true, welcome.server, sizeof(welcome.server),
				  why);
	if (r == 0)
		r = member_string(object, "version", true, welcome.version, sizeof(welcome.version),
				  why);
	if (r == 0)
		r = member_integer(object, "max_frame", true, XY_HEADER_SIZE + 1, XY_FRAME_MAX,
				   &max_frame, why);
	if (r == 0)
		r = member_integer(object, "max_message", true, 1, INT64_MAX, &max_message, why);
	if (r == 0)
		r = member_integer(object, "window", true, 0, INT64_MAX, &window, why);
	if (r == 0)
		r = member_integer(object, "heartbeat_ms", true, 1, UINT32_MAX, &heartbeat_ms, why);
	if (r == 0)
		r = member_bool(object, "lane", true, &welcome.lane, why);
	if (r == 0) {
		welcome.max_frame = (uint32_t)max_frame;
		welcome.max_message = (uint64_t)max_message;
		welcome.window = (uint64_t)window;
		welcome.heartbeat_ms = (uint32_t)heartbeat_ms;
		*ret = welcome;
	}
	json_decref(object);
	return r;
}

int xy_subscribe_decode(const void *data, size_t length, struct xy_subscribe *ret,
			char why[XY_WHY_SIZE])
{
	struct xy_subscribe subscribe = {.overflow = XY_OVERFLOW_BLOCK, .echo = true};
	char overflow[XY_NAME_MAX + 1] = "block";
	int64_t stall_ms = XY_STALL_MS_DEFAULT;
	int r;
	json_t *object = object_parse(data, length, why, &r);

	if (object == NULL)
		return r;
	r = member_string(object, "subject", true, subscribe.subject, sizeof(subscribe.subject),
			  why);
	if (r == 0)
		r = member_string(object, "group", false, subscribe.group, sizeof(subscribe.group),
				  why);
	if (r == 0)
		r = member_string(object, "overflow", false, overflow, sizeof(overflow), why);
	if (r == 0 && xy_overflow_from_text(overflow, &subscribe.overflow) < 0)
		r = refuse(why, "member \"overflow\" is none of block, drop-oldest, drop-newest, "
				"disconnect");
	if (r == 0)
		r = member_integer(object, "stall_ms", false, 1, STALL_MS_MAX, &stall_ms, why);
	if (r == 0)
		r = member_bool(object, "echo", false, &subscribe.echo, why);
	if (r == 0) {
		subscribe.stall_ms = (uint32_t)stall_ms;
		*ret = subscribe;
	}
	json_decref(object);
	return r;
}

int xy_error_decode(const void *data, size_t length, struct xy_error_info *ret,
		    char why[XY_WHY_SIZE])
{
	struct xy_error_info info = {0};
	int r;
	json_t *object = object_parse(data, length, why, &r);
	const json_t *message;

	if (object == NULL)
		return r;
	r = member_string(object, "code", true, info.code, sizeof(info.code), why);
	message = json_object_get(object, "message");
	if (r == 0 && !json_is_string(message))
		r = refuse(why, "member \"message\" is missing or not a string");
	if (r == 0) {
		text_clean(info.message, sizeof(info.message), json_string_value(message));
		*ret = info;
	}
	json_decref(object);
	return r;
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Writes and drops the object; takes over its reference. */
static ssize_t object_write(json_t *object, void *buffer, size_t size)
{
	size_t length = json_dumpb(object, buffer, size, JSON_COMPACT);

	json_decref(object);
	if (length == 0)
		return -ENOMEM;
	return length <= size ? (ssize_t)length : -ENOSPC;
}

/* Adds a member; *r is the error of the first one that failed. Takes over value's reference. */
static void add(json_t *object, const char *name, json_t *value, int *r)
{
	if (*r != 0)
		json_decref(value);
	else if (json_object_set_new_nocheck(object, name, value) < 0)
		*r = -ENOMEM;
}

static void add_string(json_t *object, const char *name, const char *text, int *r)
{
	json_t *value = json_string(text);

	/* The one cause besides memory: text that is no UTF-8, which no caller may pass. */
	if (value == NULL && *r == 0)
		*r = is_utf8(text) ? -ENOMEM : -EINVAL;
	add(object, name, value, r);
}

static void add_integer(json_t *object, const char *name, uint64_t value, int *r)
{
	if (value > INT64_MAX && *r == 0)
		*r = -EINVAL;
	add(object, name, json_integer((json_int_t)value), r);
}

static ssize_t object_end(json_t *object, int r, void *buffer, size_t size)
{
	if (r == 0)
		return object_write(object, buffer, size);
	json_decref(object);
	return r;
}

ssize_t xy_hello_encode(const struct xy_hello *hello, void *buffer, size_t size)
{
	json_t *object = json_object();
	int r = object != NULL ? 0 : -ENOMEM;

	add_string(object, "name", hello->name, &r);
	if (hello->token[0] != '\0')
		add_string(object, "token", hello->token, &r);
	if (hello->library[0] != '\0')
		add_string(object, "library", hello->library, &r);
	add(object, "ack", json_boolean(hello->ack), &r);
	return object_end(object, r, buffer, size);
}

ssize_t xy_welcome_encode(const struct xy_welcome *welcome, void *buffer, size_t size)
{
	char endpoint[ENDPOINT_SIZE + 1];
	json_t *object = json_object();
	int r = object != NULL ? 0 : -ENOMEM;

	snprintf(endpoint, sizeof(endpoint), "%016" PRIx64, welcome->endpoint);
	add_string(object, "endpoint", endpoint, &r);
	add_string(object, "server", welcome->server, &r);
	add_string(object, "version", welcome->version, &r);
	add_integer(object, "max_frame", welcome->max_frame, &r);
	add_integer(object, "max_message", welcome->max_message, &r);
	add_integer(object, "window", welcome->window, &r);
	add_integer(object, "heartbeat_ms", welcome->heartbeat_ms, &r);
	add(object, "lane", json_boolean(welcome->lane), &r);
	return object_end(object, r, buffer, size);
}

ssize_t xy_subscribe_encode(const struct xy_subscribe *subscribe, void *buffer, size_t size)
{
	json_t *object = json_object();
	int r = object != NULL ? 0 : -ENOMEM;

	add_string(object, "subject", subscribe->subject, &r);
	if (subscribe->group[0] != '\0')
		add_string(object, "group", subscribe->group, &r);
	add_string(object, "overflow", xy_overflow_text(subscribe->overflow), &r);
	add_integer(object, "stall_ms", subscribe->stall_ms, &r);
	add(object, "echo", json_boolean(subscribe->echo), &r);
	return object_end(object, r, buffer, size);
}

ssize_t xy_error_encode(enum xy_error error, const char *message, void *buffer, size_t size)
{
	char clean[sizeof(((struct xy_error_info *)NULL)->message)];
	json_t *object = json_object();
	int r = object != NULL ? 0 : -ENOMEM;

	ssize_t length;

	text_clean(clean, sizeof(clean), message);
	add_string(object, "code", xy_error_text(error), &r);
	add_string(object, "message", clean, &r);
	length = object_end(object, r, buffer, size);
	if (length == -ENOMEM) { /* even then it must be said; a code needs no escapes */
		length = snprintf(buffer, size, "{\"code\":\"%s\",\"message\":\"out of memory\"}",
				  xy_error_text(error));
		if ((size_t)length >= size)
			length = -ENOSPC;
	}
	return length;
}
