/* SPDX-License-Identifier: BSD-2-Clause */
/* seek.c - where a file has data: what the backend knows, and the dirty pages of the cache. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include <folio/space.h>

#include "cache/call.h"
#include "cache/dirty.h"
#include "cache/inode.h"

/* Extents that one call of the backend returns. */
#define SEEK_EXTENTS 32

/*
 * A page that was written is dirty, in write-back, or in the file. It moves on in that order, so
 * the cache is asked first, and then the backend: a page that was written before the call is found
 * in one of the two.
 */

/* The first byte at @offset or after it that is in a dirty folio or one in write-back, or @end. */
static uint64_t next_changed(struct inode *inode, uint64_t offset, uint64_t end)
{
	uint64_t first = offset >> FOLIO_PAGE_SHIFT, last = (end - 1) >> FOLIO_PAGE_SHIFT, index;
	unsigned mark;

	tree_lock(&inode->tree);
	for (mark = 0; mark < TREE_MARKS; mark++) {
		index = first;
		if (tree_next_marked_locked(&inode->tree, &index, last, mark) &&
			index << FOLIO_PAGE_SHIFT < end)
			end = index << FOLIO_PAGE_SHIFT;
	}
	tree_unlock(&inode->tree);
	return end < offset ? offset : end;
}

/* The end of the folio with @offset, if it is dirty or in write-back, else @offset. */
static uint64_t changed_until(struct inode *inode, uint64_t offset)
{
	uint64_t index = offset >> FOLIO_PAGE_SHIFT;
	unsigned mark;
	void *entry = NULL;

	tree_lock(&inode->tree);
	for (mark = 0; mark < TREE_MARKS && !entry; mark++)
		entry = tree_next_marked_locked(&inode->tree, &index, index, mark);
	if (entry)
		offset = folio_next_index(entry_folio(entry)) << FOLIO_PAGE_SHIFT;
	tree_unlock(&inode->tree);
	return offset;
}

/*
 * The first byte at *offset or after it, and before @end, that the backend says is data (@data), or
 * is not; @end if there is none. Returns 0 or -errno.
 */
static int next_extent(struct inode *inode, uint64_t *offset, uint64_t end, bool data)
{
	struct folio_io_extent extents[SEEK_EXTENTS];
	const struct folio_io_ops *io = inode->cache->io;
	int count, i;

	while (*offset < end) {
		count = io->extents(
			inode->cache->io_context, inode->handle, *offset, extents, SEEK_EXTENTS);
		if (count < 0)
			return count;
		/* The backend's file ends here: the cache made it longer, with zeros. */
		if (!count)
			break;
		for (i = 0; i < count && *offset < end; i++) {
			if ((extents[i].kind == FOLIO_IO_DATA) == data)
				return 0;
			if (!extents[i].bytes)
				return -EIO;
			*offset =
				extents[i].bytes < end - *offset ? *offset + extents[i].bytes : end;
		}
	}
	if (data)
		*offset = end;
	return 0;
}

static int seek_data(struct inode *inode, uint64_t *offset, uint64_t size)
{
	uint64_t end = next_changed(inode, *offset, size);
	int r = next_extent(inode, offset, end, true);

	return r ? r : *offset < size ? 0 : -ENXIO;
}

static int seek_hole(struct inode *inode, uint64_t *offset, uint64_t size)
{
	uint64_t changed;
	int r;

	for (;;) {
		changed = changed_until(inode, *offset);
		if (changed != *offset) {
			*offset = changed;
		} else {
			uint64_t begin = *offset;

			r = next_extent(inode, offset, size, false);
			if (r || *offset == begin)
				return r;
		}
		if (*offset >= size) {
			*offset = size;
			return 0;
		}
	}
}

int64_t folio_file_seek(struct folio_file *file, uint64_t offset, int whence)
{
	struct inode *inode;
	struct call call;
	uint64_t size;
	int r;

	if (!file || (whence != SEEK_DATA && whence != SEEK_HOLE))
		return -EINVAL;
	r = call_begin(&call, file->cache, file->cache_id, false);
	if (r)
		return r;
	inode = file->inode;
	size = folio_u64_load_acquire(&inode->size);
	if (offset >= size)
		return -ENXIO;
	if (!inode->cache->io->extents)
		return (int64_t)(whence == SEEK_DATA ? offset : size);
	r = whence == SEEK_DATA ? seek_data(inode, &offset, size) : seek_hole(inode, &offset, size);
	return r ? r : (int64_t)offset;
}
