/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/internal.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

int xy_client_fail(struct xy_client *client, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(client->words, sizeof(client->words), format, arguments);
	va_end(arguments);
	client->error = error;
	return error;
}

void xy_client_tell(struct xy_client *client, enum xy_event event)
{
	struct xy_pending_event *pending;

	if (client->on_event == NULL)
		return;
	if (client->events_count == XY_EVENTS_MAX) {
		/* The application does not come round. It learns the newest state in any case;
		 * of errors, the first ones. */
		if (event == XY_EVENT_ERROR)
			return;
		client->events_count--;
	}
	pending = &client->events[client->events_count++];
	pending->event = event;
	memcpy(pending->words, client->words, sizeof(pending->words));
}

void xy_client_dispatch(struct xy_client *client)
{
	struct xy_pending_event pending;

	while (client->events_count > 0 && !client->closing && !client->delivering) {
		pending = client->events[0];
		client->events_count--;
		memmove(&client->events[0], &client->events[1],
			client->events_count * sizeof(client->events[0]));
		memcpy(client->words, pending.words, sizeof(client->words));
		client->delivering = true;
		client->on_event(client, pending.event, client->context);
		client->delivering = false;
	}
}

int xy_client_events_open(struct xy_client *client)
{
	struct epoll_event event = {.events = EPOLLIN};
	int error;

	client->armed_ns = UINT64_MAX;
	client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (client->epoll_fd < 0)
		return -errno;
	client->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (client->timer_fd < 0 ||
	    epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, client->timer_fd, &event) != 0) {
		error = -errno;
		xy_client_events_close(client);
		return error;
	}
	return 0;
}

void xy_client_events_close(struct xy_client *client)
{
	if (client->timer_fd >= 0)
		close(client->timer_fd);
	if (client->epoll_fd >= 0)
		close(client->epoll_fd);
	client->timer_fd = client->epoll_fd = -1;
}

_Static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT, "one interest for both");

short xy_client_interest(const struct xy_client *client)
{
	short events = client->in.full ? 0 : POLLIN;

	if (client->state == XY_CLIENT_CONNECTING)
		return POLLOUT;
	if (client->state == XY_CLIENT_SECURING)
		return (short)xy_tls_waits(client->tls);
	if (client->blocked && !xy_channel_stalled(client) &&
	    (xy_channel_unsent(client) || client->control.tail > 0 || client->data.unsent > 0 ||
	     (client->data.tail > 0 && !xy_client_holding(client))))
		events |= POLLOUT;
	return events;
}

void xy_client_watch(struct xy_client *client)
{
	struct epoll_event event = {.events = (uint32_t)xy_client_interest(client)};

	/* A failure shows at the first change of interest. */
	if (epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, client->fd, &event) == 0)
		client->interest = event.events;
	else
		client->interest = UINT32_MAX;
}

/* Queued frames, events and messages with a handler are work for process() now. */
static bool has_work(const struct xy_client *client)
{
	struct xy_position walk = client->in.walk;

	if (client->events_count > 0 || !xy_list_empty(&client->failed) ||
	    (client->in.stalled && !client->in.full) || xy_channel_pending(client) ||
	    xy_inbound_frame(&walk) != NULL)
		return true;
	if (client->blocked)
		return false;
	return xy_channel_unsent(client) ||
	       (client->state >= XY_CLIENT_GREETING && client->control.tail > 0) ||
	       (client->state == XY_CLIENT_READY && !xy_client_holding(client) &&
		client->data.tail > 0);
}

#define NOW 1 /* ns: long past, and so readable at once */

/* Whichever call comes first after it expired, or the descriptor would stay readable. While there
 * is work it should: a system call for each message would be the price of anything else. */
static void timer_read(struct xy_client *client)
{
	uint64_t expirations;

	if (client->armed_ns > xy_clock_ns())
		return;
	(void)!read(client->timer_fd, &expirations, sizeof(expirations));
	client->armed_ns = UINT64_MAX;
}

void xy_client_arm(struct xy_client *client)
{
	uint64_t due = has_work(client) ? NOW : xy_client_next_due(client);
	struct itimerspec at = {0};

	if (due != NOW)
		timer_read(client);
	if (client->fd >= 0) {
		struct epoll_event event = {.events = (uint32_t)xy_client_interest(client)};

		if (event.events != client->interest &&
		    epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, client->fd, &event) == 0)
			client->interest = event.events;
	}
	/* Later than armed is no change: process() finds nothing to do and arms again. */
	if (due >= client->armed_ns)
		return;
	at.it_value.tv_sec = (time_t)(due / XY_NS_PER_S);
	at.it_value.tv_nsec = (long)(due % XY_NS_PER_S);
	if (timerfd_settime(client->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0)
		client->armed_ns = due;
}
