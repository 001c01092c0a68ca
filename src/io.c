/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io.c - what the library's own backends share: files, and when a read or a write is over.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
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

/*
 * Another descriptor of the same open file, for buffered I/O: by way of what is open, not of the name. Without /proc, or
 * where the mode of the file forbids to its maker what the maker may by his descriptor, there is none.
 */
static int open_buffered(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, (flags & (O_ACCMODE | O_SYNC | O_DSYNC | O_NOATIME)) | O_CLOEXEC);
}

int io_file_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle)
{
	struct io_file *file;
	struct stat st;
	int fd, now, error, buffered = -1;
	bool direct, writable = (flags & O_ACCMODE) != O_RDONLY;

	/* Linux would write to the end, whatever the offset. */
	if (writable && flags & O_APPEND)
		return -EINVAL;
	/*
	 * O_NONBLOCK: a FIFO is not waited for, it is refused below. A file that somebody holds a
	 * lease on answers EAGAIN; leases are for regular files only, so there it is right to wait.
	 */
	fd = open(path, (flags & ~O_DIRECT) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
	if (fd < 0 && errno == EAGAIN)
		fd = open(path, (flags & ~O_DIRECT) | O_CLOEXEC | O_NOCTTY, mode);
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
	direct = !(io_flags & FOLIO_IO_BUFFERED);
	if (writable && (direct || S_ISBLK(st.st_mode))) {
		buffered = open_buffered(fd, now);
		direct = direct && buffered >= 0;
	}
	direct = direct && set_direct(fd, now);
	if (!direct && fcntl(fd, F_SETFL, now & ~O_NONBLOCK) < 0)
		goto fail_errno;

	file = malloc(sizeof(*file));
	if (!file) {
		error = -ENOMEM;
		goto fail;
	}
	file->fd = fd;
	file->buffered = buffered;
	file->block = S_ISBLK(st.st_mode);
	folio_u32_store_relaxed(&file->direct, direct);
	*handle = file;
	return 0;

fail_errno:
	error = -errno;
fail:
	if (buffered >= 0)
		close(buffered);
	close(fd);
	return error;
}

void io_file_close(void *context, void *handle)
{
	struct io_file *file = handle;

	if (file->buffered >= 0)
		close(file->buffered);
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

bool io_file_repeat(struct io_file *file, uint32_t op, uint64_t offset, size_t wanted, bool direct,
	size_t *done, ssize_t *result)
{
	struct folio_io_attr attr;

	if (*result < 0) {
		if (*result == -EINTR || *result == -EAGAIN)
			return true;
		return *result == -EINVAL && direct && set_buffered(file);
	}
	*done += (size_t)*result;
	if (op == FOLIO_IO_WRITE) {
		/* Where there is no room, the kernel says so when it is asked for the rest. */
		if (*done != wanted && *result != 0)
			return true;
		*result = *done == wanted ? (ssize_t)*done : -EIO;
		return false;
	}
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

/* Cut off what direct I/O cannot write: the last piece of the last element. Returns false when nothing is left. */
static bool cut_to_blocks(struct io_rest *rest)
{
	const struct iovec *last = &rest->iov[rest->count - 1];

	if (last->iov_len % IO_ALIGN == 0)
		return true;
	if (rest->count > 1) {
		rest->count--;
		return true;
	}
	rest->part = *last;
	rest->part.iov_len -= last->iov_len % IO_ALIGN;
	rest->iov = &rest->part;
	return rest->part.iov_len != 0;
}

void io_attempt(struct io_attempt *attempt, const struct folio_io_request *request, size_t done)
{
	struct io_file *file = request->handle;

	attempt->fd = file->fd;
	attempt->direct = io_file_direct(file);
	attempt->offset = request->offset + done;
	io_rest(&attempt->rest, request->iov, request->iov_count, done);
	if (request->op != FOLIO_IO_WRITE || !attempt->direct || !attempt->rest.count)
		return;
	/* Inside a block: an earlier part was the last whole block, or came short. */
	if (attempt->offset % IO_ALIGN == 0 && cut_to_blocks(&attempt->rest))
		return;
	attempt->fd = file->buffered;
	attempt->direct = false;
	io_rest(&attempt->rest, request->iov, request->iov_count, done);
}

ssize_t io_file_run(const struct folio_io_request *request)
{
	size_t wanted = io_length(request->iov, request->iov_count), done = 0;
	struct io_attempt attempt;
	ssize_t result;
	int count;

	do {
		io_attempt(&attempt, request, done);
		count = attempt.rest.count < IOV_MAX ? (int)attempt.rest.count : IOV_MAX;
		if (request->op == FOLIO_IO_WRITE)
			result =
				pwritev(attempt.fd, attempt.rest.iov, count, (off_t)attempt.offset);
		else
			result = preadv(attempt.fd, attempt.rest.iov, count, (off_t)attempt.offset);
		if (result < 0)
			result = -errno;
	} while (io_file_repeat(request->handle, request->op, request->offset, wanted,
		attempt.direct, &done, &result));
	return result;
}

ssize_t io_file_read(
	void *context, void *handle, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	const struct folio_io_request request = {.handle = handle,
		.offset = offset,
		.iov = iov,
		.iov_count = iov_count,
		.op = FOLIO_IO_READ};

	return io_file_run(&request);
}

int io_file_sync(void *context, void *handle, unsigned sync_flags)
{
	struct io_file *file = handle;
	int r;

	/* Always the same descriptor: an error of write-back is told to each once. */
	do
		r = sync_flags & FOLIO_IO_DATA_ONLY ? fdatasync(file->fd) : fsync(file->fd);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int io_file_truncate(void *context, void *handle, uint64_t size)
{
	struct io_file *file = handle;
	int r;

	do
		r = ftruncate(file->fd, (off_t)size);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int io_file_punch(void *context, void *handle, uint64_t offset, uint64_t len)
{
	const unsigned all =
		SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
	struct io_file *file = handle;
	int r;

	/*
	 * Of a device the kernel drops what is dirty in its cache before it finds that the device has no such thing. By
	 * the second descriptor: an error that this one is told is told to io_file_sync all the same.
	 */
	if (file->block) {
		if (file->buffered < 0)
			return -EOPNOTSUPP;
		if (sync_file_range(file->buffered, (off_t)offset, (off_t)len, all) < 0)
			return -errno;
	}
	do
		r = fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			(off_t)len);
	while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == ENOSYS || errno == ENODEV))
		return -EOPNOTSUPP;
	return r < 0 ? -errno : 0;
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
