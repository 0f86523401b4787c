/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loaded before libc: malloc and its like, and anonymous mmap, fail when the test says so. Which of
 * them do follows from the seed and the number of the call.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/faults.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static struct faults *faults;

__attribute__((constructor)) static void faults_map(void)
{
	const char *path = getenv(FAULTS_VARIABLE);
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	long memory;

	if (fd < 0)
		return;
	memory = syscall(SYS_mmap, NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			 0L);
	close(fd);
	if (memory != -1)
		faults = (struct faults *)memory;
}

static uint64_t mixed(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static bool fails(size_t size)
{
	uint32_t one_in =
		faults != NULL ? atomic_load_explicit(&faults->one_in, memory_order_relaxed) : 0;
	uint64_t number;

	if (one_in == 0 || size < atomic_load_explicit(&faults->minimum, memory_order_relaxed))
		return false;
	number = atomic_fetch_add_explicit(&faults->asked, 1, memory_order_relaxed);
	if (mixed(number * 0x9e3779b97f4a7c15u + faults->seed) % one_in != 0)
		return false;
	atomic_fetch_add_explicit(&faults->failed, 1, memory_order_relaxed);
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails(size) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails(count * size) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
	return size != 0 && fails(size) ? NULL : __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size)
{
	return fails(size) ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t size)
{
	void *memory = memalign(alignment, size);

	if (memory == NULL)
		return ENOMEM;
	*ret_memory = memory;
	return 0;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (flags & MAP_ANONYMOUS && fails(length))
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}
