/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * linux/mm_types.h - pages that have a count and nothing else, and macros of the kernel that
 * page_ref.h uses.
 */
#ifndef LINUX_MM_TYPES_H
#define LINUX_MM_TYPES_H

#include <linux/atomic.h>

struct page {
	atomic_t _refcount;
};

/* As in the kernel a folio is its first page. */
struct folio {
	union {
		struct page page;
		atomic_t _refcount;
	};
};

#define page_folio(p)                           ((struct folio *)(p))

#define likely(condition)                       (condition)
#define __always_inline                         inline __attribute__((always_inline))
#define BUILD_BUG_ON(condition)                 ((void)0)

/* What a kernel without CONFIG_DEBUG_VM does: nothing is evaluated. */
#define VM_BUG_ON(condition)                    ((void)sizeof(condition))
#define VM_BUG_ON_PAGE(condition, page)         ((void)sizeof(condition))
#define VM_WARN_ON_ONCE_PAGE(condition, page)   ((void)sizeof(condition))
#define VM_WARN_ON_ONCE_FOLIO(condition, folio) ((void)sizeof(condition))

#define rcu_read_lock()                         ((void)0)
#define rcu_read_unlock()                       ((void)0)

#endif
