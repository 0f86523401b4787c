/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/bench_transport.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/bench.h"

int xy_bench_request(struct xy_bench_job *job, struct xy_bench_message *ret_reply)
{
	const struct xy_bench_transport *transport = job->transport;
	int r;

	if (transport->request)
		return transport->request(job, job->message, ret_reply);
	r = transport->publish(job, job->message);
	if (!r)
		r = transport->flush(job);
	return r ? r : transport->next(job, ret_reply);
}

int xy_bench_reply(struct xy_bench_job *job, const struct xy_bench_message *request)
{
	const struct xy_bench_transport *transport = job->transport;
	int r;

	if (transport->reply)
		return transport->reply(job, request);
	if (request->length != job->run->size)
		return -EINVAL;
	r = transport->publish(job, request->data);
	return r ? r : transport->flush(job);
}

int xy_bench_complain(const struct xy_bench_job *job, const char *what, int error)
{
	if (job->transport->complain)
		return job->transport->complain(job, what, error);
	fprintf(stderr, "xylem bench: %s: %s: %s\n", job->transport->name, what, strerror(-error));
	return XY_CMD_FAILURE;
}
