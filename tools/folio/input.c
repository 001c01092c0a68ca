/* SPDX-License-Identifier: BSD-2-Clause */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static const char *kind_objection(const struct stat *stat)
{
	if (S_ISDIR(stat->st_mode))
		return strerror(EISDIR);
	if (!S_ISREG(stat->st_mode) && !S_ISBLK(stat->st_mode))
		return "neither a regular file nor a block device";
	return NULL;
}

/*
 * The kernel generates some files when they are read, such as those of /proc, and reports their
 * size as 0. A cache, which depends on the size, would read nothing.
 */
static bool size_unknown(int fd, struct stat *stat)
{
	char byte;

	return S_ISREG(stat->st_mode) && !stat->st_size && pread(fd, &byte, 1, 0) == 1 &&
	       /* No other process has written to it since. */
	       !fstat(fd, stat) && !stat->st_size;
}

int input_open(const char *path, int flags, struct stat *file, const char **reason)
{
	int fd = -1;

	*reason = stat(path, file) ? strerror(errno) : kind_objection(file);
	if (*reason)
		return -1;
	/* O_NONBLOCK: do not wait for the other end of a pipe that has replaced the file since. */
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, file) || fcntl(fd, F_SETFL, 0))
		*reason = strerror(errno);
	else
		*reason = kind_objection(file);
	if (!*reason && size_unknown(fd, file))
		*reason = "the kernel does not report its size";
	if (!*reason)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}
