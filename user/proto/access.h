/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may do what: which identities there are, what they prove themselves by, and what each may
 * publish on, subscribe to and send to directly.
 *
 * A set is built by one thread and never changes afterwards; then any thread may ask it. Pure: no
 * I/O; building allocates.
 *
 * Identities are named like subjects ("shop.orders"), so that a rule can stand for a pattern of
 * names. Deny wins, what no rule allows is denied. A set without rules allows everything to
 * everybody who is let in; so does NULL, which has nobody to ask either.
 */
#ifndef XY_PROTO_ACCESS_H
#define XY_PROTO_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XY_IDENTITY_MAX 128 /* bytes of a name */
#define XY_DIGEST_SIZE  32  /* SHA-256 of a token, of a certificate */

/* Limits of a set; beyond, -E2BIG. */
#define XY_ACCESS_TOKENS_MAX     4096
#define XY_ACCESS_USERS_MAX      1024
#define XY_ACCESS_ANCHORS_MAX    1024
#define XY_ACCESS_IDENTITIES_MAX 1024
#define XY_ACCESS_PATTERNS_MAX   65536

enum xy_permission {
	XY_MAY_PUBLISH = 0,
	XY_MAY_SUBSCRIBE = 1,
	XY_MAY_DIRECT = 2, /* to endpoints, by the identity that they belong to */
};
#define XY_PERMISSIONS 3

/* What a client has shown. */
enum xy_credential_kind {
	XY_BY_NOTHING = 0,
	XY_BY_TOKEN = 1,
	XY_BY_USER = 2, /* the user or group of the process, told by the kernel (UNIX sockets) */
	XY_BY_CERTIFICATE = 3, /* which has been verified (TLS) */
};

#define XY_ANY_ID (-1)
struct xy_credential {
	enum xy_credential_kind kind;
	union {
		uint8_t digest[XY_DIGEST_SIZE]; /* TOKEN; CERTIFICATE: of the anchor it led to */
		struct {
			int64_t uid, gid; /* USER: of the rule that held; XY_ANY_ID = it asked for
					     none */
		};
	};
};

/* Who a connection is, made by whatever authenticated it. */
struct xy_identity {
	struct xy_credential credential;
	char name[];
};
#define XY_IDENTITY_NOBODY  "anonymous" /* who has shown nothing */
#define XY_IDENTITY_DEFAULT "default"   /* who knows a token without a name */

/* Where clients may come from that show nothing. */
enum xy_anonymous {
	XY_ANONYMOUS_NONE = 0,
	XY_ANONYMOUS_LOCAL = 1, /* by UNIX sockets and loopback addresses */
	XY_ANONYMOUS_ANY = 2,
};

/* How a listener can be reached. */
enum xy_reach {
	XY_REACH_UNIX = 0,     /* by processes of this machine, and the kernel knows their users */
	XY_REACH_LOOPBACK = 1, /* by processes of this network namespace */
	XY_REACH_NETWORK = 2,
};

struct xy_access;

/* ---- building -------------------------------------------------------------------------------- */

struct xy_access *xy_access_new(enum xy_anonymous anonymous); /* NULL: out of memory */
void xy_access_free(struct xy_access *access);                /* NULL is fine */

/* 0, -EINVAL with a sentence in *ret_why (static), -EEXIST (a digest that is there), -E2BIG,
 * -ENOMEM. Names and patterns are copied. */
int xy_access_token(struct xy_access *access, const char *name,
		    const uint8_t digest[XY_DIGEST_SIZE], const char **ret_why);
/* Of several that hold the first one counts. At least one id is asked for. */
int xy_access_user(struct xy_access *access, const char *name, int64_t uid, int64_t gid,
		   const char **ret_why);
/* A certificate whose holder vouches for the names of clients; one that is there already is no
 * error. */
int xy_access_anchor(struct xy_access *access, const uint8_t digest[XY_DIGEST_SIZE]);
/* From here on only what rules allow is allowed, also if there are none. */
void xy_access_begin_rules(struct xy_access *access);
/* *ret_index is for xy_access_rule(). */
int xy_access_identity(struct xy_access *access, const char *pattern, unsigned *ret_index,
		       const char **ret_why);
int xy_access_rule(struct xy_access *access, unsigned identity, enum xy_permission permission,
		   bool deny, const char *pattern, const char **ret_why);

/* A name that a token, a user or a certificate may have: a subject of at most XY_IDENTITY_MAX
 * bytes. As above. */
int xy_identity_check(const char *name, const char **ret_why);

/* ---- asking ---------------------------------------------------------------------------------- */

/* Of what is published the subject, of what is subscribed to the pattern, of what is sent directly
 * the receiver's identity. A pattern must be allowed as a whole by one rule, and no part of it
 * denied. */
bool xy_access_may(const struct xy_access *access, const struct xy_identity *identity,
		   enum xy_permission permission, const char *what);

/* An identity for the caller to xy_identity_free(): -ENOENT, -ENOMEM. Takes the same time whichever
 * token it is, and however much of a digest is right. */
int xy_access_by_token(const struct xy_access *access, const uint8_t digest[XY_DIGEST_SIZE],
		       const struct xy_identity **ret_identity);
/* gids: all groups that the process is in. */
int xy_access_by_user(const struct xy_access *access, uint32_t uid, const uint32_t *gids,
		      size_t count, const struct xy_identity **ret_identity);
/* What somebody has verified: -ENOENT: the anchor is none of the set's; else as above, also -EINVAL
 * with a sentence in *ret_why (static): no identity can have that name. */
int xy_access_by_certificate(const struct xy_access *access, const char *name,
			     const uint8_t anchor[XY_DIGEST_SIZE],
			     const struct xy_identity **ret_identity, const char **ret_why);
int xy_access_by_nothing(const struct xy_access *access, enum xy_reach reach,
			 const struct xy_identity **ret_identity);

void xy_identity_free(const struct xy_identity *identity); /* NULL is fine */

/* Whether what the identity was made of still makes it, on a connection that came by `reach`. */
bool xy_access_holds(const struct xy_access *access, const struct xy_identity *identity,
		     enum xy_reach reach);

bool xy_access_has_rules(const struct xy_access *access);
unsigned xy_access_tokens(const struct xy_access *access);
unsigned xy_access_users(const struct xy_access *access);
unsigned xy_access_anchors(const struct xy_access *access);
unsigned xy_access_identities(const struct xy_access *access);
/* What is wrong with a listener like this: everybody who reaches it would be let in, or nobody.
 * `tls`: clients can show certificates there. NULL: nothing; else a sentence with the remedy. */
const char *xy_access_problem(const struct xy_access *access, enum xy_reach reach, bool tls);

#endif
