/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What Kubernetes and the container runtimes call the directories of pods and containers. Pure.
 *
 *   driver    pod                                        container
 *   cgroupfs  kubepods/burstable/podUID                  ID, crio-ID
 *   systemd   kubepods-burstable-podUID.slice, UID with  cri-containerd-ID.scope, crio-ID.scope,
 *             '_' for '-'                                docker-ID.scope, libpod-ID.scope
 *
 * A UID is a UUID, or the 32 hexadecimal digits that the kubelet gives to static pods.
 */
#ifndef XY_KERNEL_POD_H
#define XY_KERNEL_POD_H

#include <stdbool.h>
#include <stddef.h>

#define XY_POD_UID_SIZE 37 /* with its end */

/* Whether a component of a path, of so many bytes, is a pod's directory, and of which. */
bool xy_pod_of(const char *name, size_t length, char ret_uid[XY_POD_UID_SIZE]);
bool xy_pod_uid_valid(const char *uid);
bool xy_pod_uid_equal(const char *uid, const char *other); /* '-' and '_' are the same */

/* Of 12 digits at least, as tools show them; kubectl's "containerd://ID" too. NULL: is none. */
const char *xy_container_id(const char *text);
/* Whether this is the directory of a container whose id begins so. */
bool xy_container_is(const char *name, const char *id);

#endif
