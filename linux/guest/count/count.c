// SPDX-License-Identifier: GPL-2.0-only
/*
 * count.c - counts the instructions of the operations on a page's count. Counts while it is being
 * loaded, and then fails to load. See ../count.c for the clock. Compiles with and without the
 * patches.
 */
#include <linux/gfp.h>
#include <linux/limits.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/page_ref.h>

#define ROUNDS 100

/* The shortest of many, so that cold caches of the first round do not matter. */
#define COUNT(name, before, what)                              \
	do {                                                   \
		u64 begin, took, best = U64_MAX;               \
		int i;                                         \
                                                               \
		for (i = 0; i < ROUNDS; i++) {                 \
			before;                                \
			barrier();                             \
			begin = rdtsc();                       \
			barrier();                             \
			what;                                  \
			barrier();                             \
			took = rdtsc() - begin;                \
			if (took < best)                       \
				best = took;                   \
		}                                              \
		pr_info("folio: count %s %llu\n", name, best); \
	} while (0)

/*
 * As a caller sees it, in a separate function: branches on the result are not part of the count.
 */
static noinline bool try_get(struct page *page)
{
	return get_page_unless_zero(page);
}

static noinline bool put(struct page *page)
{
	return put_page_testzero(page);
}

static noinline bool freeze_unfreeze(struct page *page)
{
	if (!page_ref_freeze(page, 1))
		return false;
	page_ref_unfreeze(page, 1);
	return true;
}

static int __init count_init(void)
{
	struct page *page = alloc_page(GFP_KERNEL);
	unsigned long flags;

	if (!page)
		return -ENOMEM;
	local_irq_save(flags);
	COUNT("ref-nothing", , );
	COUNT("ref-try-get", set_page_count(page, 1), try_get(page));
	COUNT("ref-put", set_page_count(page, 2), put(page));
	COUNT("ref-last-put", set_page_count(page, 1), put(page));
	/* Free by now. */
	COUNT("ref-failed-get", , try_get(page));
	COUNT("ref-freeze-unfreeze", set_page_count(page, 1), freeze_unfreeze(page));
	set_page_count(page, 1);
	COUNT("ref-alloc-free", , __free_page(alloc_page(GFP_ATOMIC)));
	local_irq_restore(flags);
	__free_page(page);
	return -EAGAIN;
}
module_init(count_init);

MODULE_DESCRIPTION("Counts the instructions of operations on page references");
MODULE_LICENSE("GPL");
