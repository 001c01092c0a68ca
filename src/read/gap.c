/* SPDX-License-Identifier: BSD-2-Clause */
/* gap.c - which pages of a file are not cached. */
#include "read/gap.h"

#include "core/walk.h"

/* The page after the folio of @entry, which has page @index. */
static uint64_t entry_end(const void *entry, uint64_t index)
{
	return (index | ((UINT64_C(1) << entry_order(entry)) - 1)) + 1;
}

uint64_t gap_end(struct inode *inode, uint64_t index, uint64_t end)
{
	void *entry;

	/* An entry will be stored there. */
	tree_prefetch(&inode->tree, index);
	entry = tree_next(&inode->tree, &index, end - 1);
	return entry ? index : end;
}

uint64_t gap_begin(struct inode *inode, uint64_t index)
{
	void *entry = tree_load(&inode->tree, index);

	return entry_is_folio(entry) ? entry_end(entry, index) : index;
}

uint64_t gap_pages(struct inode *inode, struct page_range range)
{
	uint64_t missing = 0, index = range.first;

	while (index < range.end) {
		uint64_t next = index;
		void *entry = tree_next(&inode->tree, &next, range.end - 1);

		if (!entry)
			return missing + range.end - index;
		missing += next - index;
		index = entry_end(entry, next);
	}
	return missing;
}
