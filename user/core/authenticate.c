/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/authenticate.h"

#include <errno.h>
#include <string.h>

#include "base/digest.h"
#include "io/net.h"

#define GROUPS_MAX 256 /* of a client's process */

_Static_assert(XY_TLS_DIGEST == XY_DIGEST_SIZE, "anchors");

static int by_token(const struct xy_access *access, const char *token,
		    const struct xy_identity **ret_identity, const char **ret_why)
{
	uint8_t digest[XY_DIGEST_SIZE];
	int error = xy_digest(token, strlen(token), digest);

	*ret_why = "this proxy does not know the token";
	return error ? error : xy_access_by_token(access, digest, ret_identity);
}

/* The kernel's word; -ENOENT: no rule holds. */
static int by_user(const struct xy_access *access, int fd, const struct xy_identity **ret_identity)
{
	uint32_t uid, gids[GROUPS_MAX];
	size_t count;

	if (xy_net_peer_user(fd, &uid, gids, GROUPS_MAX, &count))
		return -ENOENT;
	return xy_access_by_user(access, uid, gids, count, ret_identity);
}

static int by_certificate(const struct xy_access *access, const struct xy_tls_peer *peer,
			  const struct xy_identity **ret_identity, const char **ret_why)
{
	const char *why;
	int error = xy_access_by_certificate(access, peer->name, peer->anchor, ret_identity, &why);

	if (error == -EINVAL) {
		*ret_why = "no identity can have the name in the certificate";
		return -ENOENT;
	}
	*ret_why = "this proxy does not trust the certificate any more";
	return error;
}

/* Nothing else is tried for one who shows something wrong. */
int xy_authenticate(const struct xy_access *access, const struct xy_arrival *arrival,
		    const struct xy_identity **ret_identity, const char **ret_why)
{
	struct xy_tls_peer peer;
	int error;

	if (*arrival->token && xy_access_tokens(access))
		return by_token(access, arrival->token, ret_identity, ret_why);
	if (arrival->reach == XY_REACH_UNIX && xy_access_users(access)) {
		error = by_user(access, arrival->fd, ret_identity);
		if (error != -ENOENT)
			return error;
	}
	error = arrival->tls ? xy_tls_peer(arrival->tls, &peer) : -ENOENT;
	if (!error)
		return by_certificate(access, &peer, ret_identity, ret_why);
	*ret_why = "the certificate has no name";
	if (error == -EINVAL)
		return -ENOENT;
	if (error != -ENOENT)
		return error;
	*ret_why = arrival->tls && xy_access_anchors(access)
			   ? "this proxy asks for a certificate, or for a token"
			   : "this proxy asks for a token, or for another user";
	return xy_access_by_nothing(access, arrival->reach, ret_identity);
}
