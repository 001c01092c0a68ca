/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * identity.c - attributes of a backend's file, and which of them identify it.
 *
 * File systems give one inode number to several files where numbers are short: unions of FUSE, 9p
 * over several devices, snapshots, network file systems. If two such files shared an inode of the
 * cache, a write to one would land in the other. So device and inode only find candidates, and the
 * file handle decides. The kernel encodes it from what the file system uses to find the file again,
 * so it differs between files, and is equal for all names of one file.
 */
#include "cache/identity.h"

#include <stdbool.h>
#include <string.h>

/*
 * Two sizes that differ are queried again, until they stay the same, but so often at most. A file
 * that becomes longer all the time, as by write-back of this cache, is still found to be itself.
 */
#define COMPARISONS 16

int identity_attr(
	struct folio_cache *cache, void *handle, uint32_t wanted, struct folio_io_attr *attr)
{
	/* A backend for version 0.1 writes nothing past struct_size, so fields stays 0. */
	*attr = (struct folio_io_attr){.struct_size = sizeof(*attr), .wanted = wanted};
	return cache->io->getattr(cache->io_context, handle, attr);
}

static bool handles_equal(const struct folio_io_attr *first, const struct folio_io_attr *second)
{
	return first->handle_type == second->handle_type &&
	       first->handle_bytes == second->handle_bytes &&
	       first->handle_bytes <= FOLIO_IO_HANDLE_MAX &&
	       memcmp(first->handle, second->handle, first->handle_bytes) == 0;
}

int identity_compare_attr(const struct folio_io_attr *first, const struct folio_io_attr *second)
{
	uint32_t both = first->fields & second->fields;

	if (both & FOLIO_IO_ATTR_HANDLE)
		return handles_equal(first, second) ? IDENTITY_SAME : IDENTITY_OTHER;
	if (both & FOLIO_IO_ATTR_GENERATION && first->generation != second->generation)
		return IDENTITY_OTHER;
	if (!(both & FOLIO_IO_ATTR_BTIME))
		return IDENTITY_DOUBT;
	if (first->btime_sec != second->btime_sec || first->btime_nsec != second->btime_nsec)
		return IDENTITY_OTHER;
	/* The size may have changed between the two queries. */
	return first->size == second->size ? IDENTITY_SAME : IDENTITY_DOUBT;
}

int identity_compare_closed(
	struct folio_cache *cache, const struct folio_io_attr *closed, void *handle)
{
	struct folio_io_attr attr;
	int r = identity_attr(cache, handle, IDENTITY_CLOSED, &attr);

	if (r < 0)
		return r;
	/* Two images may have the same handles, sizes and times. */
	if (!(attr.fields & FOLIO_IO_ATTR_MOUNT) || attr.mount != closed->mount)
		return IDENTITY_OTHER;
	return identity_compare_attr(closed, &attr);
}

int identity_compare(
	struct folio_cache *cache, void *first, void *second, const struct folio_io_attr *attr)
{
	struct folio_io_attr one = {.size = 0}, two = {.size = 0};
	unsigned tries;
	int r;

	if (!(attr->fields & FOLIO_IO_ATTR_AMBIGUOUS))
		return IDENTITY_SAME;
	for (tries = 0; tries < COMPARISONS; tries++) {
		uint64_t size_one = one.size, size_two = two.size;

		r = identity_attr(cache, second, IDENTITY_WANTED, &two);
		if (r < 0)
			return r;
		if (identity_attr(cache, first, IDENTITY_WANTED, &one) < 0)
			return IDENTITY_DOUBT;
		r = identity_compare_attr(&one, &two);
		if (r != IDENTITY_DOUBT || one.size == two.size ||
			(one.size == size_one && two.size == size_two))
			return r;
	}
	return IDENTITY_DOUBT;
}
