/* SPDX-License-Identifier: BSD-2-Clause */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void complain(const char *format, ...)
{
	va_list args;

	/* Keep the order where standard output and standard error are the same file. */
	fflush(stdout);
	va_start(args, format);
	fputs("folio: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

bool output_open_for_writing(void)
{
	int flags = fcntl(STDOUT_FILENO, F_GETFL);

	if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY)
		return true;
	complain("cannot write to standard output: %s", strerror(EBADF));
	return false;
}

bool output_all(struct iovec *iov, unsigned count)
{
	ssize_t written;

	while (count) {
		written = writev(STDOUT_FILENO, iov, (int)(count < IOV_MAX ? count : IOV_MAX));
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = STDOUT_FILENO, .events = POLLOUT};

			poll(&wait, 1, -1);
			continue;
		}
		if (written < 0) {
			/* The reader closed the pipe: not an error. */
			if (errno != EPIPE)
				complain("cannot write to standard output: %s", strerror(errno));
			return false;
		}
		while (count && (size_t)written >= iov->iov_len) {
			written -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count) {
			iov->iov_base = (char *)iov->iov_base + written;
			iov->iov_len -= (size_t)written;
		}
	}
	return true;
}

int finish_output(void)
{
	errno = 0;
	if (!ferror(stdout) && fflush(stdout) == 0)
		return STATUS_OK;
	/* The reader closed the pipe: not an error to report. */
	if (errno != EPIPE)
		complain("cannot write to standard output: %s", strerror(errno ? errno : EIO));
	return STATUS_FAILED;
}
