/* SPDX-License-Identifier: BSD-2-Clause */
/* peek.c - reading pages in place: the view of a file, and visits of a copy. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <folio/peek.h>

#include "core/tree.h"
#include "core/version.h"
#include "cache/types.h"
#include "read/read.h"

/* The promise of folio/peek.h, for layout 1. A change of any of these needs another number. */
_Static_assert(FOLIO_VIEW_LAYOUT == 1 && TREE_SHIFT == FOLIO_VIEW_SHIFT_ &&
		       offsetof(struct tree_node, slot) == FOLIO_VIEW_SLOTS_ &&
		       TREE_NODE == FOLIO_VIEW_NODE_ &&
		       (TREE_NODE | TREE_SHADOW) == FOLIO_VIEW_TAGS_,
	"the nodes and the entries of a tree");
_Static_assert(
	offsetof(struct inode, tree) == 0 &&
		offsetof(struct tree, directory) == offsetof(struct folio_view_tree_, slots) &&
		offsetof(struct tree, generation) ==
			offsetof(struct folio_view_tree_, generation) &&
		offsetof(struct directory, slots) == offsetof(struct folio_view_slots_, count) &&
		offsetof(struct directory, slot) == offsetof(struct folio_view_slots_, slot),
	"the tree and its directory");
_Static_assert((VERSION_CHANGING | VERSION_PARTIAL | VERSION_TOUCH) == FOLIO_VIEW_CALL_ &&
		       ENTRY_ORDER_SHIFT == 2 && sizeof(struct folio) == 64,
	"the version, and the order in an entry");

int folio_file_view(struct folio_file *file, unsigned layout, const struct folio_view **view)
{
	if (!file || !view)
		return -EINVAL;
	if (layout != FOLIO_VIEW_LAYOUT || !file->cache->pool.version_wiped)
		return -ENOTSUP;
	*view = &file->view;
	return 0;
}

int folio_file_visit(struct folio_file *file, uint64_t index, folio_peek_fn *visit, void *context)
{
	uint64_t offset = index << FOLIO_PAGE_SHIFT;
	char page[FOLIO_PAGE_SIZE];
	size_t len = sizeof(page);
	ssize_t n;

	if (!file || !visit)
		return -EINVAL;
	/* No file is longer, and no read may be. */
	if (index > INT64_MAX >> FOLIO_PAGE_SHIFT)
		return -ENODATA;
	if (len > INT64_MAX - offset)
		len = INT64_MAX - offset;
	n = folio_file_read(file, page, len, offset);
	if (n <= 0)
		return n < 0 ? (int)n : -ENODATA;
	memset(page + n, 0, sizeof(page) - (size_t)n);
	visit(page, context);
	return 0;
}
