/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options that nobody typed: from the environment, and from a configuration file whose members are
 * named like the options.
 *
 * Call in the order of precedence, after xy_options_flags() and before xy_options_defaults(): what
 * is given already stays. It is looked at all the same: what is wrong is complained about wherever
 * it stands.
 */
#ifndef XY_CMD_SOURCES_H
#define XY_CMD_SOURCES_H

#include "cmd/config.h"
#include "cmd/options.h"

/* Variables: the command's prefix and the option's name, upper case, '_' for '-'. Of an option that
 * may be given several times the value is split at white space. Words are kept in *ret_words, to be
 * freed when the values are not used any more. */
void xy_options_environment(const struct xy_command *command, void *values, struct xy_given *given,
			    char **ret_words, struct xy_complaints *complaints);

/* Members that are no options are complained about, but for those in `others`, a NULL-terminated
 * list. A number may be a JSON number, a flag is true or false, an option that may be given several
 * times a text or an array of texts. The values point into the configuration. */
void xy_options_file(const struct xy_command *command, const struct xy_config *config,
		     const char *const *others, void *values, struct xy_given *given,
		     struct xy_complaints *complaints);

#endif
