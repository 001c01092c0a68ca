/* SPDX-License-Identifier: BSD-2-Clause */
#include "input.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

const char *input_kind_objection(const struct stat *stat)
{
	if (S_ISDIR(stat->st_mode))
		return strerror(EISDIR);
	if (!S_ISREG(stat->st_mode) && !S_ISBLK(stat->st_mode))
		return "neither a regular file nor a block device";
	return NULL;
}

/*
 * Files that the kernel makes when they are read, such as those of /proc, say that they are empty: a cache, which goes by the
 * size, would give nothing.
 */
static bool size_untold(int fd, struct stat *stat)
{
	char byte;

	return S_ISREG(stat->st_mode) && !stat->st_size && pread(fd, &byte, 1, 0) == 1 &&
	       /* Nobody has written to it meanwhile. */
	       !fstat(fd, stat) && !stat->st_size;
}

const char *input_objection(int fd, struct stat *stat)
{
	const char *objection;

	if (fstat(fd, stat))
		return strerror(errno);
	objection = input_kind_objection(stat);
	if (!objection && size_untold(fd, stat))
		objection = "the system does not tell its size";
	return objection;
}
