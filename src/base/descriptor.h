/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * descriptor.h - descriptors that are not 0, 1 or 2.
 *
 * In a program that has closed its standard streams, the kernel hands out their numbers again. If a
 * file of the library had one of them, the next message on standard error would be written to that
 * file. So every place that creates a descriptor passes it through descriptor_above_stdio.
 */
#ifndef FOLIO_SRC_BASE_DESCRIPTOR_H
#define FOLIO_SRC_BASE_DESCRIPTOR_H

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/*
 * @fd: a new descriptor, or -1 with errno set. If it is below 3, replace it by a copy that is not
 * and that is closed on exec. Returns the descriptor; or -1 with errno set, and @fd is closed.
 */
static inline int descriptor_above_stdio(int fd)
{
	int copy, error;

	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	error = errno;
	close(fd);
	errno = error;
	return copy;
}

#endif
