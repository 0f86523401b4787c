/* SPDX-License-Identifier: BSD-2-Clause */
#include "cmd/tls.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/file.h"

#define FILE_MAX (1u << 20)

/* Nothing where no file is given; complains where it cannot be read. */
static void pem_read(const char *path, enum xy_file_kind kind, struct xy_tls_pem *pem,
		     struct xy_complaints *complaints)
{
	if (path)
		pem->text = xy_file_read(path, kind, FILE_MAX, &pem->length, complaints);
}

static void pem_free(struct xy_tls_pem *pem)
{
	if (pem->text)
		explicit_bzero((void *)pem->text, pem->length);
	free((void *)pem->text);
}

static bool is_whole(const struct xy_tls_files *files, struct xy_complaints *complaints)
{
	if (files->key && !files->cert)
		xy_complain(complaints, "tls-key: there is no tls-cert for it");
	else if (files->ca && !files->cert)
		xy_complain(complaints, "tls-ca: a listener with TLS needs tls-cert and tls-key, "
					"too");
	else if (files->cert && !files->key)
		xy_complain(complaints, "tls-cert: there is no tls-key for it");
	else
		return files->cert != NULL;
	return false;
}

static const char *path_of(const struct xy_tls_files *files, enum xy_tls_part part)
{
	switch (part) {
	case XY_TLS_CERTIFICATE:
		return files->cert;
	case XY_TLS_KEY:
		return files->key;
	case XY_TLS_CA:
		return files->ca;
	default:
		return "TLS";
	}
}

static struct xy_tls_context *context_make(const struct xy_tls_files *files,
					   const struct xy_tls_options *options,
					   struct xy_complaints *complaints)
{
	struct xy_tls_context *context;
	char why[XY_TLS_WHY_SIZE];
	enum xy_tls_part part;

	if (xy_tls_context_new(options, &context, &part, why)) {
		xy_complain(complaints, "%s: %s", path_of(files, part), why);
		return NULL;
	}
	if (xy_tls_context_warns(context, why))
		xy_log(XY_LOG_WARN, "tls-certificate", "path=%s why=%s", xy_log_quoted(files->cert),
		       xy_log_quoted(why));
	return context;
}

struct xy_tls_context *xy_tls_make(const struct xy_tls_files *files,
				   struct xy_complaints *complaints)
{
	struct xy_tls_options options = {.size = sizeof(options),
					 .server = true,
					 .allow_1_2 = files->min && !strcmp(files->min, "1.2")};
	struct xy_tls_context *context = NULL;
	unsigned before = complaints->count;

	if (!is_whole(files, complaints))
		return NULL;
	/* Who may write one of the first two could show who he likes to be, or let in whom. */
	pem_read(files->cert, XY_FILE_RULES, &options.certificate, complaints);
	pem_read(files->ca, XY_FILE_RULES, &options.ca, complaints);
	pem_read(files->key, XY_FILE_SECRET, &options.key, complaints);
	if (complaints->count == before)
		context = context_make(files, &options, complaints);
	pem_free(&options.certificate);
	pem_free(&options.ca);
	pem_free(&options.key);
	return context;
}
