/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
#include "client/secure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define PREFIX      "tls:"
#define PREFIX_UNIX "unix:"
#define PEM_MAX     (1u << 20) /* bytes of a file: all CAs of a system have a quarter of it */

#define WHY(...) snprintf(why, XY_SECURE_WHY_SIZE, __VA_ARGS__)

/* ---- options --------------------------------------------------------------------------------- */

bool xy_secure_wanted(const char *server)
{
	return strncmp(server, PREFIX, strlen(PREFIX)) == 0;
}

const char *xy_secure_address(const char *server)
{
	return server + (xy_secure_wanted(server) ? strlen(PREFIX) : 0);
}

static const char *given(const char *text)
{
	return text != NULL && *text != '\0' ? text : NULL;
}

/* Never from the environment of somebody who has fewer rights. */
static const char *or_environment(const char *text, const char *variable)
{
	return text != NULL ? given(text) : given(secure_getenv(variable));
}

/* The host of HOST:PORT or [V6]:PORT. */
static char *host_of(const char *address)
{
	const char *start = address + (*address == '[');
	const char *end = *address == '[' ? strchr(address, ']') : strrchr(address, ':');

	return strndup(start, end != NULL ? (size_t)(end - start) : strlen(start));
}

static bool copy(char **ret_copy, const char *text)
{
	if (text != NULL)
		*ret_copy = strdup(text);
	return text == NULL || *ret_copy != NULL;
}

int xy_secure_take(const char *server, const struct xy_client_options *options,
		   struct xy_secure *ret_secure, char why[XY_SECURE_WHY_SIZE])
{
	struct xy_secure secure = {0};
	const char *cert = options->tls_cert, *key = options->tls_key, *name;
	const char *address = xy_secure_address(server);

	if (!xy_secure_wanted(server)) {
		*ret_secure = secure;
		if (!given(options->tls_ca) && !given(cert) && !given(key) &&
		    !given(options->tls_name))
			return 0;
		WHY("%s is reached without TLS, but TLS options are given; write tls:HOST:PORT",
		    server);
		return -EINVAL;
	}
	if (strncmp(address, PREFIX_UNIX, strlen(PREFIX_UNIX)) == 0) {
		WHY("%s: no TLS by UNIX sockets; write tls:HOST:PORT or %s", server, address);
		return -EINVAL;
	}
	/* The two belong together, so one source has both. */
	if (cert == NULL && key == NULL) {
		cert = or_environment(NULL, "XYLEM_TLS_CERT");
		key = or_environment(NULL, "XYLEM_TLS_KEY");
	}
	if (!given(cert) != !given(key)) {
		WHY("a certificate to be shown needs its key, and a key its certificate");
		return -EINVAL;
	}
	name = or_environment(options->tls_name, "XYLEM_TLS_NAME");
	secure.name = name != NULL ? strdup(name) : host_of(address);
	if (secure.name != NULL && strlen(secure.name) > XY_TLS_NAME_MAX) {
		xy_secure_free(&secure);
		WHY("a server's name has at most %d bytes", XY_TLS_NAME_MAX);
		return -EINVAL;
	}
	if (secure.name == NULL ||
	    !copy(&secure.ca, or_environment(options->tls_ca, "XYLEM_TLS_CA")) ||
	    !copy(&secure.cert, given(cert)) || !copy(&secure.key, given(key))) {
		xy_secure_free(&secure);
		WHY("out of memory");
		return -ENOMEM;
	}
	*ret_secure = secure;
	return 0;
}

void xy_secure_free(struct xy_secure *secure)
{
	free(secure->ca);
	free(secure->cert);
	free(secure->key);
	free(secure->name);
	*secure = (struct xy_secure){0};
}

/* ---- files ----------------------------------------------------------------------------------- */

static int load(const char *path, enum xy_file_kind kind, struct xy_tls_pem *ret_pem,
		char why[XY_SECURE_WHY_SIZE])
{
	char sentence[XY_FILE_WHY_SIZE], *text;
	int error;

	if (path == NULL)
		return 0;
	error = xy_file_load(path, kind, PEM_MAX, &text, &ret_pem->length, sentence);
	if (error)
		WHY("%s: %s", path, sentence);
	else
		ret_pem->text = text;
	return error;
}

static void unload(struct xy_tls_pem *pem)
{
	char *text = (char *)(uintptr_t)pem->text;

	if (text != NULL)
		explicit_bzero(text, pem->length);
	free(text);
}

static const char *part_name(const struct xy_secure *secure, enum xy_tls_part part)
{
	switch (part) {
	case XY_TLS_CERTIFICATE:
		return secure->cert;
	case XY_TLS_KEY:
		return secure->key;
	case XY_TLS_CA:
		return secure->ca != NULL ? secure->ca : "certificates that this system trusts";
	case XY_TLS_OTHER:
		break;
	}
	return "TLS";
}

/* Who may write to a CA's file decides whom we trust. */
int xy_secure_context(const struct xy_secure *secure, struct xy_tls_context **ret_context,
		      char why[XY_SECURE_WHY_SIZE])
{
	struct xy_tls_options options = {.size = sizeof(options)};
	char sentence[XY_TLS_WHY_SIZE];
	enum xy_tls_part part;
	int error = load(secure->ca, XY_FILE_RULES, &options.ca, why);

	if (!error)
		error = load(secure->cert, XY_FILE_RULES, &options.certificate, why);
	if (!error)
		error = load(secure->key, XY_FILE_SECRET, &options.key, why);
	if (!error) {
		error = xy_tls_context_new(&options, ret_context, &part, sentence);
		if (error)
			WHY("%s: %s", part_name(secure, part), sentence);
	}
	unload(&options.ca);
	unload(&options.certificate);
	unload(&options.key);
	return error;
}

int xy_secure_check(const char *server, const struct xy_client_options *options,
		    char why[XY_SECURE_WHY_SIZE])
{
	struct xy_tls_context *context = NULL;
	struct xy_secure secure;
	int error = xy_secure_take(server, options, &secure, why);

	if (error)
		return error;
	if (secure.name != NULL)
		error = xy_secure_context(&secure, &context, why);
	xy_tls_context_put(context);
	xy_secure_free(&secure);
	return error;
}

/* ---- what went wrong ------------------------------------------------------------------------- */

void xy_secure_explain(const struct xy_secure *secure, const struct xy_tls *tls,
		       char why[XY_SECURE_WHY_SIZE])
{
	char sentence[XY_TLS_WHY_SIZE];

	xy_tls_why(tls, sentence);
	switch (xy_tls_cause(tls)) {
	case XY_TLS_CAUSE_NOT_TLS:
		WHY("what listens there speaks no TLS: is this a port for plain connections?");
		break;
	case XY_TLS_CAUSE_UNTRUSTED:
		if (secure->ca != NULL)
			WHY("the server's certificate is not signed by one in %s (%s)", secure->ca,
			    sentence);
		else
			WHY("the server's certificate is not signed by one that this system "
			    "trusts; is there a file with its CA for tls_ca or XYLEM_TLS_CA? (%s)",
			    sentence);
		break;
	case XY_TLS_CAUSE_NAME:
		WHY("the server's certificate is not for '%s' (%s); by which name is it to be "
		    "reached, or expected with tls_name or XYLEM_TLS_NAME?",
		    secure->name, sentence);
		break;
	case XY_TLS_CAUSE_TIME:
		WHY("the server's certificate is out of its time (%s)", sentence);
		break;
	case XY_TLS_CAUSE_REFUSED:
		if (secure->cert != NULL)
			WHY("the server refuses the certificate in %s (%s)", secure->cert,
			    sentence);
		else
			WHY("the server wants a certificate to be shown: tls_cert and tls_key, or "
			    "XYLEM_TLS_CERT and XYLEM_TLS_KEY (%s)",
			    sentence);
		break;
	case XY_TLS_CAUSE_OTHER:
		WHY("TLS: %s", sentence);
		break;
	}
}
