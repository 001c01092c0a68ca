/* SPDX-License-Identifier: BSD-2-Clause */
/* hotfile.c - a file on disk that lists ranges of pages of other files. */
#include "core/hotfile.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <folio/folio.h>

#include "base/descriptor.h"
#include "core/tree.h"

/*
 * A change of one word always changes the checksum: each step is a bijection. (FNV-1a, over words;
 * the rotation brings the high bits down.)
 */
static uint64_t sum_next(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * UINT64_C(0x100000001b3);
	return sum << 29 | sum >> 35;
}

/* ---- writing ---- */

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Would the kernel send SIGXFSZ for a file of @size bytes? It would end most programs. */
static bool is_too_large(uint64_t size)
{
	struct rlimit process;

	return getrlimit(RLIMIT_FSIZE, &process) == 0 && process.rlim_cur != RLIM_INFINITY &&
	       size > process.rlim_cur;
}

static void flush(struct hotfile_writer *writer)
{
	struct hotfile *file = &writer->file;
	size_t len = file->count * sizeof(file->word[0]);

	writer->size += len;
	if (!writer->error && is_too_large(writer->size))
		writer->error = -EFBIG;
	if (!writer->error)
		writer->error = write_all(file->fd, (const char *)file->word, len);
	file->count = 0;
}

static void put(struct hotfile_writer *writer, uint64_t word)
{
	struct hotfile *file = &writer->file;

	if (file->count == HOTFILE_WORDS)
		flush(writer);
	file->sum = sum_next(file->sum, word);
	file->word[file->count++] = htole64(word);
}

/* The name of a new file next to @path. NULL: no memory. */
static char *name_temporary(const char *path)
{
	size_t size = strlen(path) + sizeof(".XXXXXX");
	char *name = malloc(size);

	if (name)
		snprintf(name, size, "%s.XXXXXX", path);
	return name;
}

int hotfile_create(struct hotfile_writer *writer, const char *path)
{
	int error;

	*writer = (struct hotfile_writer){.path = path, .temporary = name_temporary(path)};
	if (!writer->temporary)
		return -ENOMEM;
	writer->file.fd = descriptor_above_stdio(mkostemp(writer->temporary, O_CLOEXEC));
	if (writer->file.fd < 0) {
		error = errno;
		free(writer->temporary);
		return -error;
	}
	put(writer, HOTFILE_MAGIC);
	put(writer, HOTFILE_VERSION);
	put(writer, FOLIO_PAGE_SIZE);
	return 0;
}

void hotfile_put_file(struct hotfile_writer *writer, const struct folio_io_attr *attr)
{
	uint32_t fields = attr->handle_bytes <= FOLIO_IO_HANDLE_MAX
				  ? attr->fields
				  : attr->fields & ~FOLIO_IO_ATTR_HANDLE;
	uint64_t handle[FOLIO_IO_HANDLE_MAX / sizeof(uint64_t)] = {0};
	uint32_t bytes = fields & FOLIO_IO_ATTR_HANDLE ? attr->handle_bytes : 0, i;

	memcpy(handle, attr->handle, bytes);
	put(writer, 1);
	put(writer, attr->device);
	put(writer, attr->inode);
	put(writer, fields);
	put(writer, attr->generation);
	put(writer, (uint64_t)attr->btime_sec);
	put(writer, attr->btime_nsec);
	put(writer, (uint32_t)attr->handle_type);
	put(writer, bytes);
	for (i = 0; i * sizeof(handle[0]) < bytes; i++)
		put(writer, le64toh(handle[i]));
}

void hotfile_put_range(struct hotfile_writer *writer, uint64_t first, uint64_t pages)
{
	put(writer, first);
	put(writer, pages);
}

void hotfile_put_file_end(struct hotfile_writer *writer)
{
	hotfile_put_range(writer, 0, 0);
}

/*
 * Open the folder that has the file, for a sync. Returns a descriptor; -EACCES if the program may
 * not read the folder; or another -errno.
 */
static int open_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int fd;

	if (!folder)
		return -ENOMEM;
	fd = descriptor_above_stdio(open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (fd < 0)
		fd = -errno;
	free(folder);
	return fd;
}

int hotfile_commit(struct hotfile_writer *writer)
{
	int folder;

	put(writer, 0);
	put(writer, writer->file.sum);
	flush(writer);
	if (!writer->error && fsync(writer->file.fd) < 0)
		writer->error = -errno;
	if (close(writer->file.fd) < 0 && !writer->error)
		writer->error = -errno;
	/* First what may fail: after the rename, the earlier list is gone. */
	folder = open_folder(writer->path);
	if (!writer->error && folder < 0 && folder != -EACCES)
		writer->error = folder;
	if (!writer->error && rename(writer->temporary, writer->path) < 0)
		writer->error = -errno;
	if (writer->error)
		unlink(writer->temporary);
	/* EINVAL: the file system does not sync folders. */
	else if (folder >= 0 && fsync(folder) < 0 && errno != EINVAL)
		writer->error = -errno;
	if (folder >= 0)
		close(folder);
	free(writer->temporary);
	return writer->error;
}

/* ---- reading ---- */

/* As read(2), but not interrupted. Returns bytes or -errno. */
static ssize_t read_some(int fd, void *buf, size_t len)
{
	ssize_t n;

	do
		n = read(fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Fill the buffer. 0; -EBADMSG at the end of the file; or -errno. */
static int refill(struct hotfile *file)
{
	size_t have = 0;

	while (have < sizeof(file->word)) {
		ssize_t n =
			read_some(file->fd, (char *)file->word + have, sizeof(file->word) - have);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	file->at = 0;
	file->count = (unsigned)(have / sizeof(file->word[0]));
	/* A part of a word is what is left of a file that was cut off. */
	return file->count && have % sizeof(file->word[0]) == 0 ? 0 : -EBADMSG;
}

static int get(struct hotfile *file, uint64_t *word)
{
	if (file->at == file->count) {
		int r = refill(file);

		if (r)
			return r;
	}
	*word = le64toh(file->word[file->at++]);
	file->sum = sum_next(file->sum, *word);
	return 0;
}

static int get_many(struct hotfile *file, uint64_t *word, unsigned count)
{
	int r = 0;

	while (count-- > 0 && !r)
		r = get(file, word++);
	return r;
}

/* The end of the list: the checksum, and nothing behind it. */
static int check_end(struct hotfile *file)
{
	uint64_t sum = file->sum, found;
	int r = get(file, &found);
	ssize_t n;
	char byte;

	if (r)
		return r;
	if (found != sum || file->at != file->count)
		return -EBADMSG;
	n = read_some(file->fd, &byte, 1);
	return n > 0 ? -EBADMSG : (int)n;
}

int hotfile_next_file(struct hotfile *file, struct folio_io_attr *attr)
{
	uint64_t more, word[8], handle[FOLIO_IO_HANDLE_MAX / sizeof(uint64_t)] = {0};
	unsigned i, words;
	int r = get(file, &more);

	if (r)
		return r;
	if (more != 1)
		return more ? -EBADMSG : check_end(file);
	r = get_many(file, word, 8);
	if (r)
		return r;
	if (word[7] > FOLIO_IO_HANDLE_MAX)
		return -EBADMSG;
	words = ((unsigned)word[7] + 7) / 8;
	r = get_many(file, handle, words);
	if (r)
		return r;
	for (i = 0; i < words; i++)
		handle[i] = htole64(handle[i]);
	*attr = (struct folio_io_attr){
		.struct_size = sizeof(*attr),
		.device = word[0],
		.inode = word[1],
		.fields = (uint32_t)word[2],
		.generation = word[3],
		.btime_sec = (int64_t)word[4],
		.btime_nsec = (uint32_t)word[5],
		.handle_type = (int32_t)(uint32_t)word[6],
		.handle_bytes = (uint32_t)word[7],
	};
	memcpy(attr->handle, handle, word[7]);
	return 1;
}

int hotfile_next_range(struct hotfile *file, uint64_t *first, uint64_t *pages)
{
	uint64_t word[2];
	int r = get_many(file, word, 2);

	if (r)
		return r;
	if (!word[1])
		return word[0] ? -EBADMSG : 0;
	if (word[0] > TREE_INDEX_MAX || word[1] > TREE_INDEX_MAX - word[0] + 1)
		return -EBADMSG;
	*first = word[0];
	*pages = word[1];
	return 1;
}

/* Go to the first file. */
static int begin(struct hotfile *file)
{
	uint64_t word[3] = {0};
	int r;

	file->at = file->count = 0;
	file->sum = 0;
	if (lseek(file->fd, 0, SEEK_SET) < 0)
		return -errno;
	r = get_many(file, word, 3);
	if (r)
		return r;
	if (word[0] != HOTFILE_MAGIC)
		return -EBADMSG;
	return word[1] == HOTFILE_VERSION && word[2] == FOLIO_PAGE_SIZE ? 0 : -EOPNOTSUPP;
}

/* Read all of it. */
static int check(struct hotfile *file)
{
	int r = begin(file);

	while (!r) {
		struct folio_io_attr attr;
		uint64_t first, pages, end = 0;

		r = hotfile_next_file(file, &attr);
		if (r <= 0)
			return r;
		while ((r = hotfile_next_range(file, &first, &pages)) > 0) {
			if (first < end)
				return -EBADMSG;
			end = first + pages;
		}
	}
	return r;
}

int hotfile_open(struct hotfile *file, const char *path)
{
	int r;

	/* O_NONBLOCK: the open of a pipe would wait for a writer. */
	file->fd = descriptor_above_stdio(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
	if (file->fd < 0)
		return -errno;
	r = check(file);
	if (!r)
		r = begin(file);
	if (r)
		close(file->fd);
	return r;
}

void hotfile_close(struct hotfile *file)
{
	close(file->fd);
}
