/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- what we publish on ---------------------------------------------------------------------- */

int xy_topic_ask(struct xy_client *client, struct xy_topic *topic)
{
	uint64_t correlation = xy_call_begin(client, &topic->call);
	int error;

	if (correlation == 0)
		return xy_client_fail(client, -ENOMEM, "out of memory");
	topic->answer = XY_ANSWER_NONE;
	error = xy_client_control(client, XY_DECLARE, 0, correlation, topic->subject,
				  strlen(topic->subject));
	if (error)
		xy_call_end(client, &topic->call);
	else if (client->state == XY_CLIENT_RESTORING)
		client->unanswered++;
	return error;
}

/* Nobody waits for the answer any more. */
static void abandon(struct xy_client *client, struct xy_call *call)
{
	bool asked = call->correlation != 0;

	xy_call_end(client, call);
	if (asked && client->state == XY_CLIENT_RESTORING)
		xy_client_restored(client);
}

void xy_topic_answered(struct xy_client *client, struct xy_topic *topic, uint64_t id, int error)
{
	topic->answer = error ? XY_ANSWER_REFUSED : XY_ANSWER_OK;
	topic->error = error;
	topic->next_id = error ? 0 : id;
	/* A topic id that OK tells is told: no BINDING need follow. */
	if (!error && xy_binding_learn(client, id, topic->subject, strlen(topic->subject)) != 0) {
		xy_client_disconnect(client);
		return;
	}
	if (client->state == XY_CLIENT_RESTORING) {
		if (error)
			xy_client_tell(client, XY_EVENT_ERROR);
		xy_client_restored(client);
	} else {
		topic->id = topic->next_id;
	}
}

static void topic_free(struct xy_client *client, struct xy_topic *topic)
{
	abandon(client, &topic->call);
	HASH_DEL(client->topics, topic);
	free(topic);
}

static int topic_new(struct xy_client *client, const char *subject, struct xy_topic **ret_topic)
{
	struct xy_topic *topic = calloc(1, sizeof(*topic));

	if (topic == NULL)
		return xy_client_fail(client, -ENOMEM, "out of memory");
	topic->client = client;
	topic->call.kind = XY_CALL_DECLARE;
	memcpy(topic->subject, subject, strlen(subject) + 1);
	HASH_ADD_STR(client->topics, subject, topic);
	if (topic->hh.tbl == NULL) {
		free(topic);
		return xy_client_fail(client, -ENOMEM, "out of memory");
	}
	*ret_topic = topic;
	return 0;
}

/* Waits for an answer; the connection may end and come back meanwhile. */
static int wait_answer(struct xy_client *client, const enum xy_answer *answer)
{
	uint64_t deadline = xy_client_deadline((int)client->connect_timeout_ms);

	while (*answer == XY_ANSWER_NONE || client->state != XY_CLIENT_READY) {
		int error;

		if (client->state == XY_CLIENT_CLOSED)
			return -ECONNRESET;
		error = xy_client_wait(client, deadline);
		if (error == -ETIMEDOUT)
			return xy_client_fail(client, error, "no answer within %u ms",
					      client->connect_timeout_ms);
		if (error && error != -EINTR)
			return error;
	}
	return 0;
}

int xy_client_declare(struct xy_client *client, const char *subject, struct xy_topic **ret_topic)
{
	struct xy_topic *topic;
	const char *why;
	int error;

	if (xy_subject_check(subject, strlen(subject), &why) != 0)
		return xy_client_fail(client, -EINVAL, "subject: %s", why);
	if (client->state == XY_CLIENT_CLOSED)
		return xy_client_fail(client, -ENOTCONN, "the connection is closed for good");
	HASH_FIND_STR(client->topics, subject, topic);
	if (topic != NULL && topic->answer == XY_ANSWER_OK) {
		*ret_topic = topic;
		return 0;
	}
	/* One that was refused when it was to be restored may be asked for again. */
	if (topic == NULL) {
		error = topic_new(client, subject, &topic);
		if (error)
			return error;
	}
	error = 0;
	if (topic->call.correlation == 0 && client->state >= XY_CLIENT_RESTORING)
		error = xy_topic_ask(client, topic);
	if (!error)
		error = wait_answer(client, &topic->answer);
	if (!error && topic->answer == XY_ANSWER_REFUSED)
		error = topic->error;
	if (error) {
		if (!topic->given)
			topic_free(client, topic);
		return error;
	}
	topic->given = true;
	*ret_topic = topic;
	return 0;
}

uint64_t xy_topic_id(const struct xy_topic *topic)
{
	return topic->id;
}

const char *xy_topic_subject(const struct xy_topic *topic)
{
	return topic->subject;
}

void xy_topics_free(struct xy_client *client)
{
	struct xy_subscription *subscription, *after;
	struct xy_topic *topic, *next;

	HASH_ITER(hh, client->topics, topic, next)
	{
		/* The analyzer does not see that the next one is another. */
		HASH_DEL(client->topics, topic); /* NOLINT(clang-analyzer-unix.Malloc) */
		free(topic);
	}
	xy_list_each_safe (subscription, after, &client->subscriptions, link) {
		xy_tree_remove(client->patterns, &subscription->item);
		free(subscription);
	}
	xy_subscriptions_forget(client);
	xy_tree_free(client->patterns);
}

/* ---- what we subscribe to -------------------------------------------------------------------- */

int xy_subscription_ask(struct xy_client *client, struct xy_subscription *subscription)
{
	char json[XY_SUBJECT_MAX * 6 + XY_NAME_MAX * 6 + 128];
	ssize_t length = xy_subscribe_encode(&subscription->wish, json, sizeof(json));
	uint64_t correlation;
	int error;

	if (length < 0)
		return xy_client_fail(client, (int)length, "subscription cannot be encoded");
	subscription->call.kind = XY_CALL_SUBSCRIBE;
	correlation = xy_call_begin(client, &subscription->call);
	if (correlation == 0)
		return xy_client_fail(client, -ENOMEM, "out of memory");
	subscription->answer = XY_ANSWER_NONE;
	error = xy_client_control(client, XY_SUBSCRIBE, 0, correlation, json, (size_t)length);
	if (error)
		xy_call_end(client, &subscription->call);
	else if (client->state == XY_CLIENT_RESTORING)
		client->unanswered++;
	return error;
}

static int unsubscribe_ask(struct xy_client *client, struct xy_subscription *subscription)
{
	uint64_t correlation;

	subscription->call.kind = XY_CALL_UNSUBSCRIBE;
	subscription->answer = XY_ANSWER_NONE;
	correlation = xy_call_begin(client, &subscription->call);
	if (correlation == 0)
		return xy_client_fail(client, -ENOMEM, "out of memory");
	return xy_client_control(client, XY_UNSUBSCRIBE, subscription->id, correlation, NULL, 0);
}

/* ---- what nobody wants any more -------------------------------------------------------------- */

/* The proxy has answered: what it has it is asked to take back, and its answer to that is the end.
 */
static void take_back(struct xy_client *client, struct xy_subscription *subscription)
{
	if (subscription->call.kind == XY_CALL_SUBSCRIBE && subscription->answer == XY_ANSWER_OK) {
		/* Without the connection there is no subscription either. */
		if (unsubscribe_ask(client, subscription) != 0)
			xy_client_disconnect(client);
		return;
	}
	xy_list_remove(&subscription->link);
	free(subscription);
}

/* What the application has, its messages find. */
static int enlist(struct xy_client *client, struct xy_subscription *subscription)
{
	if (xy_tree_add_pattern(client->patterns, subscription->wish.subject,
				&subscription->item) != 0)
		return xy_client_fail(client, -ENOMEM, "out of memory");
	subscription->number = client->numbered++;
	xy_list_add_tail(&client->subscriptions, &subscription->link);
	client->generation++;
	return 0;
}

static void delist(struct xy_client *client, struct xy_subscription *subscription)
{
	xy_tree_remove(client->patterns, &subscription->item);
	xy_list_remove(&subscription->link);
	client->generation++;
}

/* Its answer may be under way, and must find it: the proxy has a subscription then. */
static void give_up(struct xy_client *client, struct xy_subscription *subscription)
{
	delist(client, subscription);
	xy_list_add_tail(&client->given_up, &subscription->link);
	subscription->given_up = true;
	if (subscription->call.correlation == 0)
		take_back(client, subscription);
}

void xy_subscriptions_forget(struct xy_client *client)
{
	struct xy_subscription *subscription, *after;

	xy_list_each_safe (subscription, after, &client->given_up, link) {
		xy_call_end(client, &subscription->call);
		xy_list_remove(&subscription->link);
		free(subscription);
	}
}

void xy_subscription_answered(struct xy_client *client, struct xy_subscription *subscription,
			      uint64_t id, int error)
{
	bool subscribed = subscription->call.kind == XY_CALL_SUBSCRIBE;
	bool given_up = subscription->given_up;

	subscription->answer = error ? XY_ANSWER_REFUSED : XY_ANSWER_OK;
	subscription->error = error;
	if (subscribed)
		subscription->id = id;
	if (given_up)
		take_back(client, subscription);
	if (subscribed && client->state == XY_CLIENT_RESTORING) {
		if (error && !given_up)
			xy_client_tell(client, XY_EVENT_ERROR);
		xy_client_restored(client);
	}
}

/* ---- as the application asks ----------------------------------------------------------------- */

static int subscription_wish(struct xy_client *client, const char *pattern,
			     const struct xy_subscribe_options *options,
			     struct xy_subscribe *ret_wish)
{
	struct xy_subscribe wish = {.stall_ms = XY_STALL_MS_DEFAULT, .echo = true};
	const char *why;

	if (xy_pattern_check(pattern, strlen(pattern), &why) != 0)
		return xy_client_fail(client, -EINVAL, "pattern: %s", why);
	memcpy(wish.subject, pattern, strlen(pattern) + 1);
	if (options->group != NULL) {
		if (*options->group == '\0' || strlen(options->group) > XY_NAME_MAX)
			return xy_client_fail(client, -EINVAL, "group: 1 to %d bytes", XY_NAME_MAX);
		memcpy(wish.group, options->group, strlen(options->group) + 1);
		client->grouped = true;
	}
	if (options->overflow != NULL &&
	    xy_overflow_from_text(options->overflow, &wish.overflow) != 0)
		return xy_client_fail(client, -EINVAL, "overflow: unknown policy %s",
				      options->overflow);
	if (options->stall_ms != 0)
		wish.stall_ms = options->stall_ms;
	wish.echo = !options->no_echo;
	*ret_wish = wish;
	return 0;
}

int xy_client_subscribe(struct xy_client *client, const char *pattern,
			const struct xy_subscribe_options *options,
			struct xy_subscription **ret_subscription)
{
	struct xy_subscribe_options given = {.size = sizeof(given)};
	struct xy_subscription *subscription;
	int error;

	if (client->state == XY_CLIENT_CLOSED)
		return xy_client_fail(client, -ENOTCONN, "the connection is closed for good");
	if (options != NULL)
		memcpy(&given, options,
		       options->size < sizeof(given) ? options->size : sizeof(given));
	subscription = calloc(1, sizeof(*subscription));
	if (subscription == NULL)
		return xy_client_fail(client, -ENOMEM, "out of memory");
	xy_list_init(&subscription->link);
	subscription->on_message = given.on_message;
	subscription->context = given.context;
	error = subscription_wish(client, pattern, &given, &subscription->wish);
	/* Before it is confirmed: its first message may come before the OK. */
	if (!error)
		error = enlist(client, subscription);
	if (error) {
		free(subscription);
		return error;
	}
	if (client->state >= XY_CLIENT_RESTORING)
		error = xy_subscription_ask(client, subscription);
	if (!error)
		error = wait_answer(client, &subscription->answer);
	if (!error && subscription->answer == XY_ANSWER_REFUSED)
		error = subscription->error;
	if (error) {
		give_up(client, subscription);
		return error;
	}
	if (ret_subscription != NULL)
		*ret_subscription = subscription;
	return 0;
}

/* Waits for the answer to UNSUBSCRIBE, or for the end of the connection: without a connection there
 * is no subscription either. */
static int unsubscribe_wait(struct xy_client *client, struct xy_subscription *subscription)
{
	uint64_t deadline = xy_client_deadline((int)client->connect_timeout_ms);

	while (subscription->answer == XY_ANSWER_NONE && client->state >= XY_CLIENT_RESTORING) {
		int error;

		error = xy_client_wait(client, deadline);
		if (error && error != -EINTR && client->state >= XY_CLIENT_RESTORING)
			return error;
	}
	return subscription->answer == XY_ANSWER_REFUSED ? subscription->error : 0;
}

int xy_client_unsubscribe(struct xy_client *client, struct xy_subscription *subscription)
{
	int error;

	/* Not restored, or not yet. */
	if (subscription->answer != XY_ANSWER_OK) {
		give_up(client, subscription);
		return 0;
	}
	/* Gone from the list at once: what still comes is ignored, and nothing is restored. */
	delist(client, subscription);
	error = unsubscribe_ask(client, subscription);
	if (!error)
		error = unsubscribe_wait(client, subscription);
	xy_call_end(client, &subscription->call);
	free(subscription);
	return error;
}
