/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/faults.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/proxy.h"

static char path[] = "/tmp/xylem-faults-XXXXXX";

static void file_remove(void)
{
	unlink(path);
}

/* Beside the binary, as built. */
static bool library_find(char library[PATH_MAX])
{
	char binary[PATH_MAX];

	snprintf(binary, sizeof(binary), "%s", proxy_binary());
	snprintf(library, PATH_MAX, "%s/tests/faults.so", dirname(binary));
	return access(library, R_OK) == 0;
}

static bool has_allocator_of_its_own(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#else
	return false;
#endif
}

struct faults *faults_begin(void)
{
	static struct faults *faults;
	char library[PATH_MAX];

	if (has_allocator_of_its_own())
		return NULL;
	if (!library_find(library))
		fail_msg("%s is not there", library);
	if (faults == NULL) {
		int fd = mkstemp(path);

		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, sizeof(*faults)), 0);
		faults = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		assert_ptr_not_equal(faults, MAP_FAILED);
		close(fd);
		atexit(file_remove);
	}
	setenv("LD_PRELOAD", library, 1);
	setenv(FAULTS_VARIABLE, path, 1);
	return faults;
}

void faults_end(void)
{
	unsetenv("LD_PRELOAD");
	unsetenv(FAULTS_VARIABLE);
}
