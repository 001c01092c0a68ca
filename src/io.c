/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io.c - what the library's own backends share: files, and when a read is over.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "io.h"

/*
 * Does the file system say that direct I/O of IO_ALIGN will not work? Where it says nothing, a read
 * will tell.
 */
static bool direct_refused(int fd)
{
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
		stx.stx_mask & STATX_DIOALIGN)
		return stx.stx_dio_offset_align == 0 || stx.stx_dio_offset_align > IO_ALIGN ||
		       stx.stx_dio_mem_align > IO_ALIGN;
#endif
	return false;
}

/*
 * The flag goes on after open, not with it: an open that creates the file and then fails because
 * the file system has no direct I/O could not be repeated with O_EXCL.
 */
static bool set_direct(int fd, int flags)
{
	return !direct_refused(fd) && fcntl(fd, F_SETFL, (flags & ~O_NONBLOCK) | O_DIRECT) == 0;
}

int io_file_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle)
{
	struct io_file *file;
	struct stat st;
	int fd, now, error;
	bool direct = false;

	/*
	 * O_NONBLOCK: a FIFO is not waited for, it is refused below. A file that somebody holds a
	 * lease on answers EAGAIN; leases are for regular files only, so there it is right to wait.
	 */
	fd = open(path, (flags & ~O_DIRECT) | O_CLOEXEC | O_NONBLOCK, mode);
	if (fd < 0 && errno == EAGAIN)
		fd = open(path, (flags & ~O_DIRECT) | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;

	error = -EINVAL;
	if (fstat(fd, &st) < 0)
		goto fail_errno;
	if (S_ISDIR(st.st_mode))
		error = -EISDIR;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		goto fail;

	/* io_uring gives up with EAGAIN on a descriptor that still has O_NONBLOCK. */
	now = fcntl(fd, F_GETFL);
	if (now < 0)
		goto fail_errno;
	if (!(io_flags & FOLIO_IO_BUFFERED))
		direct = set_direct(fd, now);
	if (!direct && fcntl(fd, F_SETFL, now & ~O_NONBLOCK) < 0)
		goto fail_errno;

	file = malloc(sizeof(*file));
	if (!file) {
		error = -ENOMEM;
		goto fail;
	}
	file->fd = fd;
	file->block = S_ISBLK(st.st_mode);
	folio_u32_store_relaxed(&file->direct, direct);
	*handle = file;
	return 0;

fail_errno:
	error = -errno;
fail:
	close(fd);
	return error;
}

void io_file_close(void *context, void *handle)
{
	struct io_file *file = handle;

	close(file->fd);
	free(file);
}

int io_file_getattr(void *context, void *handle, struct folio_io_attr *attr)
{
	struct io_file *file = handle;
	struct stat st;
	off_t size;

	if (fstat(file->fd, &st) < 0)
		return -errno;
	*attr = (struct folio_io_attr){
		.device = st.st_dev,
		.inode = st.st_ino,
		.size = (uint64_t)st.st_size,
		.mtime_sec = st.st_mtim.tv_sec,
		.mtime_nsec = (uint32_t)st.st_mtim.tv_nsec,
	};
	if (file->block) {
		/*
		 * All nodes of a device are one file, whose inode number is one that no file system
		 * on that device gives. The position that lseek sets is used by nobody.
		 */
		size = lseek(file->fd, 0, SEEK_END);
		if (size < 0)
			return -errno;
		attr->device = st.st_rdev;
		attr->inode = 0;
		attr->size = (uint64_t)size;
	}
	return 0;
}

/* Take the file to buffered I/O. False when the system does not let us. */
static bool set_buffered(struct io_file *file)
{
	int flags = fcntl(file->fd, F_GETFL);

	if (flags < 0 || fcntl(file->fd, F_SETFL, flags & ~O_DIRECT) < 0)
		return false;
	/* release: pairs with io_file_direct. */
	folio_u32_store_release(&file->direct, 0);
	return true;
}

bool io_file_repeat(struct io_file *file, uint64_t offset, size_t wanted, bool direct, size_t *done,
	ssize_t *result)
{
	struct folio_io_attr attr;

	if (*result < 0) {
		if (*result == -EINTR || *result == -EAGAIN)
			return true;
		return *result == -EINVAL && direct && set_buffered(file);
	}
	*done += (size_t)*result;
	if (*result == 0 || *done == wanted) {
		*result = (ssize_t)*done;
		return false;
	}
	/*
	 * A direct read that stops inside a block has met the end of the file, as a rule, and
	 * cannot be continued from there. If the file does not end there (it grew just now), a
	 * buffered read can.
	 */
	if (direct && *done % IO_ALIGN) {
		if (io_file_getattr(NULL, file, &attr) == 0 && offset + *done >= attr.size) {
			*result = (ssize_t)*done;
			return false;
		}
		if (!set_buffered(file)) {
			*result = -EIO;
			return false;
		}
	}
	return true;
}

size_t io_length(const struct iovec *iov, unsigned count)
{
	size_t length = 0;
	unsigned i;

	for (i = 0; i < count; i++)
		length += iov[i].iov_len;
	return length;
}

void io_rest(struct io_rest *rest, const struct iovec *iov, unsigned count, size_t done)
{
	while (count && done >= iov->iov_len) {
		done -= iov->iov_len;
		iov++;
		count--;
	}
	rest->iov = iov;
	rest->count = count;
	if (count && done) {
		rest->part.iov_base = (char *)iov->iov_base + done;
		rest->part.iov_len = iov->iov_len - done;
		rest->iov = &rest->part;
		rest->count = 1;
	}
}

ssize_t io_file_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	struct io_file *file = handle;
	size_t wanted = io_length(iov, iov_count), done = 0;
	struct io_rest rest;
	ssize_t result;
	bool direct;

	do {
		direct = io_file_direct(file);
		io_rest(&rest, iov, iov_count, done);
		result = preadv(file->fd, rest.iov,
			rest.count < IOV_MAX ? (int)rest.count : IOV_MAX, (off_t)(offset + done));
		if (result < 0)
			result = -errno;
	} while (io_file_repeat(file, offset, wanted, direct, &done, &result));
	return result;
}

int io_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	int error;

	/* A program's signal handlers run on the program's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!error)
		pthread_setname_np(*thread, name);
	/* What is short is memory for a thread, or threads: the caller's caller calls both out of memory. */
	return error == EAGAIN ? -ENOMEM : -error;
}

int io_choose(const struct folio_io_ops **ops, void **context, unsigned depth)
{
	void *given = *context;

	*ops = &folio_io_uring;
	if ((*ops)->create(context, depth) == 0)
		return 0;
	*context = given;
	*ops = &folio_io_threads;
	return (*ops)->create(context, depth);
}
