/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file.c - the file handles of the library's own backends, and the choice of a backend. The
 * attributes of a file are in attr.c, requests in attempt.c; open.c opens its descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "io/attempt.h"
#include "io/file.h"
#include "io/open.h"
#include "io/probe.h"

/*
 * Does the file system report that direct I/O with an alignment of IO_ALIGN does not work? If it
 * reports nothing, the first attempt finds out.
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
 * Can a read or write of the file only be made by blocking (FUSE, network file systems)? A ring
 * would then leave it to a thread of the kernel, which repeats a request that fails with EAGAIN for
 * ever. The read begins past every end, so nothing is read.
 */
static bool is_blocking(int fd)
{
	char byte;
	const struct iovec iov = {&byte, 1};

	return preadv2(fd, &iov, 1, INT64_MAX - 1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP;
}

static bool change_direct(int fd, bool direct)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

/*
 * Decide how the new handle @file reads and writes. @flags: of its descriptor. Returns 0; or -errno
 * if there is no second descriptor now, or no memory for it: without direct I/O the file would be
 * slow as long as it is open.
 *
 * O_DIRECT is set after open, not in it: if open creates the file and then fails because the file
 * system has no direct I/O, it cannot be repeated with O_EXCL.
 */
static int choose_mode(struct io_file *file, int flags, unsigned io_flags)
{
	const int again = O_ACCMODE | O_SYNC | O_DSYNC | O_NOATIME;
	bool writable = (flags & O_ACCMODE) != O_RDONLY;
	enum folio_direct direct = FOLIO_DIRECT_DECLINED;
	int r;

	if (!(io_flags & FOLIO_IO_BUFFERED))
		direct = !direct_refused(file->fd) && change_direct(file->fd, true)
				 ? FOLIO_DIRECT_USED
				 : FOLIO_DIRECT_UNSUPPORTED;
	if (writable && (direct == FOLIO_DIRECT_USED || file->block)) {
		r = open_again(file->fd, flags & again);
		if (r >= 0) {
			file->buffered = r;
		} else if (r != -ENOENT && r != -ENOTDIR && r != -EACCES && r != -EPERM) {
			return r;
		} else if (direct == FOLIO_DIRECT_USED) {
			direct = FOLIO_DIRECT_NO_SECOND;
			if (!change_direct(file->fd, false))
				return -EIO;
		}
	}
	folio_u32_store_relaxed(&file->direct, direct);
	return 0;
}

static void count_buffered(struct io_file *file)
{
	if (!io_file_direct(file))
		folio_u64_fetch_add_relaxed(&file->backend->files_buffered, 1);
}

int io_file_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **handle)
{
	int reserve = -1, fd, r;
	struct io_file *file;
	struct stat st;

	/* With O_APPEND, Linux writes at the end of the file, whatever the offset. */
	if ((flags & O_ACCMODE) != O_RDONLY && flags & O_APPEND)
		return -EINVAL;
	if (io_flags & FOLIO_IO_PROBE)
		return io_probe_open(path, flags, handle);
	file = malloc(sizeof(*file));
	if (!file)
		return -ENOMEM;
	/* An open that fails because there is no second descriptor creates no file. */
	if (flags & O_CREAT && !(io_flags & FOLIO_IO_BUFFERED)) {
		reserve = open_reserve();
		if (reserve < 0) {
			free(file);
			return reserve;
		}
	}
	fd = open_checked(path, flags, mode, &st);
	if (reserve >= 0)
		close(reserve);
	if (fd < 0) {
		free(file);
		return fd;
	}
	*file = (struct io_file){
		.backend = context,
		.fd = fd,
		.buffered = -1,
		.block = S_ISBLK(st.st_mode),
		.blocks = is_blocking(fd),
	};
	r = choose_mode(file, flags, io_flags);
	if (r) {
		close(fd);
		free(file);
		return r;
	}
	count_buffered(file);
	*handle = file;
	return 0;
}

/*
 * Fill in a handle for the program's descriptor @fd, whose status flags @now stay as they are: a
 * duplicate shares them.
 */
static int duplicate(struct io_file *file, int fd, int now, bool writable)
{
	int r;

	folio_u32_store_relaxed(
		&file->direct, now & O_DIRECT ? FOLIO_DIRECT_USED : FOLIO_DIRECT_DECLINED);
	if (writable && (now & O_DIRECT || file->block)) {
		file->buffered = open_again(fd, O_RDWR | (now & (O_SYNC | O_DSYNC | O_NOATIME)));
		if (file->buffered < 0 && now & O_DIRECT)
			return file->buffered;
	}
	file->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (file->fd >= 0)
		return 0;
	r = -errno;
	if (file->buffered >= 0)
		close(file->buffered);
	return r;
}

int io_file_open_fd(void *context, int fd, int flags, unsigned io_flags, void **handle)
{
	struct folio_io_attr attr = {.struct_size = sizeof(attr), .wanted = FOLIO_IO_ATTR_LIMIT};
	bool writable = (flags & O_ACCMODE) != O_RDONLY;
	int now = fcntl(fd, F_GETFL), r;
	struct io_file *file;
	struct stat st;

	if (now < 0)
		return -errno;
	if (now & O_PATH || (now & O_ACCMODE) == O_WRONLY ||
		(writable && (now & O_ACCMODE) != O_RDWR))
		return -EBADF;
	if (writable && now & O_APPEND)
		return -EINVAL;
	r = open_check(fd, &st);
	if (r)
		return r;
	if (io_flags & FOLIO_IO_PROBE)
		return io_probe_open_fd(fd, &st, handle);
	file = malloc(sizeof(*file));
	if (!file)
		return -ENOMEM;
	*file = (struct io_file){
		.backend = context,
		.buffered = -1,
		.block = S_ISBLK(st.st_mode),
		.blocks = is_blocking(fd),
	};
	r = duplicate(file, fd, now, writable);
	if (r) {
		free(file);
		return r;
	}
	/* To find the limit moves the position of @fd and restores it: now, not at a write. */
	if (writable)
		io_file_getattr(context, file, &attr);
	count_buffered(file);
	*handle = file;
	return 0;
}

void io_file_close(void *context, void *handle)
{
	struct io_file *file = handle;

	if (file->probe) {
		io_probe_close(file);
		return;
	}
	if (!io_file_direct(file))
		folio_u64_fetch_sub_relaxed(&file->backend->files_buffered, 1);
	if (file->buffered >= 0)
		close(file->buffered);
	close(file->fd);
	free(file);
}

bool io_file_set_buffered(struct io_file *file)
{
	uint32_t used = FOLIO_DIRECT_USED;

	if (!change_direct(file->fd, false))
		return false;
	/* release: pairs with io_file_direct: a thread that sees this finds O_DIRECT cleared. */
	if (folio_u32_cas_release(&file->direct, &used, FOLIO_DIRECT_REFUSED))
		folio_u64_fetch_add_relaxed(&file->backend->files_buffered, 1);
	return true;
}

void io_file_stat(void *context, struct folio_io_stat *stat)
{
	struct io_backend *backend = context;

	stat->files_buffered = folio_u64_load_relaxed(&backend->files_buffered);
}

unsigned io_file_direct_use(void *context, void *handle)
{
	struct io_file *file = handle;

	return folio_u32_load_relaxed(&file->direct);
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
	unsigned tries = 0;
	int r;

	/*
	 * Always the same descriptor: the kernel reports a write-back error once to each open file
	 * description.
	 */
	do
		r = sync_flags & FOLIO_IO_DATA_ONLY ? fdatasync(file->fd) : fsync(file->fd);
	while (r < 0 && errno == EINTR && io_pause(&tries));
	return r < 0 ? -errno : 0;
}

/* Close a duplicate: that runs the flush of the file system. */
static int flush_descriptor(int fd)
{
	unsigned tries = 0;
	int copy, r;

	do {
		copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		/* If descriptors have run out: fsync(2) finds the same errors, and is slower. */
		r = copy < 0 ? fsync(fd) : close(copy);
	} while (r < 0 && errno == EINTR && io_pause(&tries));
	return r < 0 ? -errno : 0;
}

int io_file_flush(void *context, void *handle)
{
	struct io_file *file = handle;
	int r = flush_descriptor(file->fd);

	if (!r && file->buffered >= 0)
		r = flush_descriptor(file->buffered);
	return r;
}

int io_file_truncate(void *context, void *handle, uint64_t size)
{
	struct folio_io_attr attr = {.struct_size = sizeof(attr), .wanted = FOLIO_IO_ATTR_LIMIT};
	struct io_file *file = handle;
	unsigned tries = 0;
	int r = io_file_getattr(context, handle, &attr);

	if (r)
		return r;
	/* A device keeps its size; setting that size drops pages past it from the cache. */
	if (file->block)
		return size == attr.size ? 0 : -EINVAL;
	/* For a size past RLIMIT_FSIZE, ftruncate would also raise SIGXFSZ. */
	if (size <= INT64_MAX && size > attr.size && size > attr.limit)
		return -EFBIG;
	do
		r = ftruncate(file->fd, (off_t)size);
	while (r < 0 && errno == EINTR && io_pause(&tries));
	return r < 0 ? -errno : 0;
}

int io_file_punch(void *context, void *handle, uint64_t offset, uint64_t len)
{
	const unsigned all =
		SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
	struct io_file *file = handle;
	unsigned tries = 0;
	int r;

	/*
	 * On a block device, the kernel drops dirty pages of its own cache before it finds that the
	 * device cannot punch holes. So write them first. Use the second descriptor: an error that
	 * it reports is still reported to io_file_sync, which uses the first.
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
	while (r < 0 && errno == EINTR && io_pause(&tries));
	if (r < 0 && (errno == ENOSYS || errno == ENODEV))
		return -EOPNOTSUPP;
	return r < 0 ? -errno : 0;
}

bool io_runs_requests(const struct folio_io_ops *ops)
{
	return ops->submit == folio_io_uring.submit || ops->submit == folio_io_threads.submit;
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
