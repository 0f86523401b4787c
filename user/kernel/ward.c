/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernel/ward.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "base/clock.h"

#define BEAT_AHEAD_S 3600
#define LOOK_MS      100
#define WINDOW       (1u << 20)

/* ---- findings -------------------------------------------------------------------------------- */

static void found(struct xy_finding *finding, enum xy_verdict verdict, const char *reason,
		  va_list arguments)
{
	finding->verdict = verdict;
	vsnprintf(finding->reason, sizeof(finding->reason), reason, arguments);
	/* One line each, also of what a library says. */
	finding->reason[strcspn(finding->reason, "\n")] = '\0';
}

void xy_found(struct xy_finding *finding, enum xy_verdict verdict, const char *reason, ...)
{
	va_list arguments;

	va_start(arguments, reason);
	found(finding, verdict, reason, arguments);
	va_end(arguments);
}

bool xy_found_no(struct xy_finding *finding, const char *reason, ...)
{
	va_list arguments;

	va_start(arguments, reason);
	found(finding, XY_VERDICT_NO, reason, arguments);
	va_end(arguments);
	return false;
}

bool xy_found_untried(struct xy_finding *finding, const char *remedy, const char *reason, ...)
{
	va_list arguments;

	va_start(arguments, reason);
	found(finding, XY_VERDICT_UNTRIED, reason, arguments);
	va_end(arguments);
	snprintf(finding->remedy, sizeof(finding->remedy), "%s", remedy);
	return false;
}

bool xy_found_blocked(struct xy_finding *finding)
{
	return xy_found_untried(finding, "first that of the probe that says no above",
				"it rests on a probe above that says no");
}

/* ---- what probes share ----------------------------------------------------------------------- */

/* Whatever a probe has changed for itself. The heartbeat is one for as long as it takes. */
static void control_reset(struct xy_kernel *kernel)
{
	xy_kernel_redirect_switch(kernel, true);
	xy_kernel_beat(kernel);
	__atomic_fetch_add(&kernel->control->heartbeat, BEAT_AHEAD_S * XY_NS_PER_S,
			   __ATOMIC_RELAXED);
}

void xy_ward_open(struct xy_ward *ward)
{
	struct xy_kernel_options options = {
		.instance = strrchr(ward->place.cgroup, '/') ? strrchr(ward->place.cgroup, '/') + 1
							     : "xylem-doctor",
		.cgroup = ward->place.cgroup,
		.detached = ward->place.no_cgroup[0] != '\0',
		.slots = ward->options->slots,
		.flows = ward->options->flows,
		.window = WINDOW,
		.ret_step = &ward->step,
	};

	if (ward->asked)
		return;
	ward->asked = true;
	ward->charged = xy_maps_are_charged();
	ward->error = xy_kernel_open(&options, &ward->kernel, ward->why, sizeof(ward->why));
	if (ward->error)
		return;
	/* Seen; left behind by nobody, however this ends. */
	ward->pinned = ward->kernel->pins.directory[0] != '\0';
	snprintf(ward->why, sizeof(ward->why), "%s", ward->kernel->pins.why);
	xy_pins_remove(&ward->kernel->pins);
}

bool xy_ward_opened(struct xy_ward *ward, enum xy_kernel_step step, struct xy_finding *finding)
{
	xy_ward_open(ward);
	if (!ward->error || ward->step > step)
		return true;
	if (ward->step == step)
		return xy_found_no(finding, "%s", ward->why);
	return xy_found_blocked(finding);
}

bool xy_ward_ready(struct xy_ward *ward, struct xy_finding *finding)
{
	xy_ward_open(ward);
	if (!ward->kernel)
		return xy_found_blocked(finding);
	if (ward->place.no_network[0] && !ward->here)
		return xy_found_untried(finding,
					"run it as root outside of a container, or with --here",
					"%s", ward->place.no_network);
	control_reset(ward->kernel);
	return ward->door.fd > 0 || xy_door_open(&ward->door, AF_INET, finding);
}

static void pair_close(struct xy_ward *ward)
{
	xy_dummy_close(&ward->from);
	xy_dummy_close(&ward->to);
}

bool xy_ward_pair(struct xy_ward *ward, struct xy_finding *finding)
{
	int error;

	if (!xy_ward_ready(ward, finding))
		return false;
	if (ward->from.fd > 0 && ward->to.fd > 0)
		return true;
	/* `population` may have left the one. */
	if (!ward->from.fd && !xy_dummy_open(ward, &ward->door, &ward->from, finding))
		return false;
	if (!xy_dummy_open(ward, &ward->door, &ward->to, finding))
		return false;
	error = xy_dummy_flow(ward, &ward->from, &ward->to);
	if (error)
		return xy_found_no(finding, "no flow can be installed: %s", strerror(-error));
	return true;
}

/* ---- the child ------------------------------------------------------------------------------- */

static struct xy_finding *finding_add(struct xy_ward *ward, const struct xy_probe *probe)
{
	struct xy_finding *finding = &ward->finding[ward->findings++];

	*finding = (struct xy_finding){.name = probe->name, .needed = probe->needed};
	return finding;
}

static void probe_run(struct xy_ward *ward, const struct xy_probe *probe)
{
	struct xy_finding *finding = finding_add(ward, probe);

	xy_found_no(finding, "it did not come to its end");
	snprintf(finding->remedy, sizeof(finding->remedy), "%s", probe->remedy);
	probe->run(ward, finding);
	if (finding->verdict == XY_VERDICT_OK)
		finding->remedy[0] = '\0';
	if (finding->verdict == XY_VERDICT_NO || finding->verdict == XY_VERDICT_UNTRIED)
		pair_close(ward);
}

/* A kernel side that was opened elsewhere meets this place's sockets. */
static void attach(struct xy_ward *ward)
{
	int fd = open(ward->place.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ward->error = fd < 0 ? -errno : xy_population_attach(ward->kernel, fd);
	if (ward->error) {
		ward->step = XY_STEP_POPULATION;
		xy_why(ward->why, sizeof(ward->why), "cannot attach to cgroup %s: %s",
		       ward->place.cgroup, strerror(-ward->error));
	}
}

static void child(struct xy_ward *ward, const struct xy_probe *const *probes, bool stop_at_no)
{
	libbpf_set_print(NULL);
	xy_place_enter(&ward->place);
	if (ward->kernel && !ward->place.no_cgroup[0])
		attach(ward);
	for (; *probes && ward->findings < XY_FINDINGS_MAX; probes++) {
		probe_run(ward, *probes);
		if (stop_at_no && ward->finding[ward->findings - 1].verdict == XY_VERDICT_NO)
			break;
	}
}

/* ---- the parent ------------------------------------------------------------------------------ */

struct xy_ward *xy_ward_new(const struct xy_doctor_options *options)
{
	struct xy_ward *ward = mmap(NULL, sizeof(*ward), PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (ward == MAP_FAILED)
		return NULL;
	ward->options = options;
	ward->here = options->here;
	return ward;
}

void xy_ward_free(struct xy_ward *ward)
{
	if (!ward)
		return;
	xy_place_remove(&ward->place);
	munmap(ward, sizeof(*ward));
}

static bool signal_waits(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) ||
		sigismember(&pending, SIGHUP));
}

/* Its end shows as the end of a pipe: nothing else waits for a child with a bound. */
static void child_await(const struct xy_ward *ward, pid_t pid, int pipe, int timeout_ms)
{
	struct pollfd ended = {.fd = pipe, .events = POLLIN};
	uint64_t end = xy_clock_ms() + (uint64_t)timeout_ms;
	int status;

	while (poll(&ended, 1, LOOK_MS) <= 0)
		if (xy_clock_ms() >= end || (ward->yields && signal_waits())) {
			kill(pid, SIGKILL);
			break;
		}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

int xy_ward_run(struct xy_ward *ward, const struct xy_probe *const *probes, bool stop_at_no,
		int timeout_ms)
{
	int ends[2], error;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		child(ward, probes, stop_at_no);
		_exit(0);
	}
	error = pid < 0 ? -errno : 0;
	close(ends[1]);
	if (!error)
		child_await(ward, pid, ends[0], timeout_ms);
	close(ends[0]);
	/* Those that it did not come to. */
	for (probes += ward->findings; !error && *probes; probes++)
		xy_found_blocked(finding_add(ward, *probes));
	return error;
}
