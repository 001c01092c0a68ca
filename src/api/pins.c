/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pins.c - report pinned folios: a walk over all descriptors, and the table of a program's pins.
 *
 * The walk runs concurrently with everything else. It proceeds as follows for each folio, and
 * reports every folio that has a pin before and after the call:
 *
 *   1  the count         A pin keeps every thread from freezing: neither frozen nor 0.
 *   2  one reference     If the version is even and owner is set, it is the tree's; else continue.
 *                        If it were a pin, the tree's reference would have been dropped, and erase
 *                        clears owner before that (release in the put, acquire fence here). The
 *                        version of a folio of a user-defined type is odd throughout its use, from
 *                        before unfreeze (release) on.
 *   3  try_get           From here on, type, order and index do not change.
 *   4  even or UPTODATE  A program gets no other folio. A hit pins one whose version is even,
 *                        which a fill makes it shortly before it sets UPTODATE
 *                        (read/finish.c). A locked folio has an odd version, but only after it
 *                        got UPTODATE. Hence the version is loaded before the flags. (Values of an
 *                        earlier use? No: both are set before unfreeze.)
 *   5  the tree's lock   Under it, owner shows whether the tree's reference exists, and the flags
 *                        show whether that of the dirty state does: each is dropped only after
 *                        owner, or the flag, has been cleared.
 *
 * A published pin (core/publish.h) writes no count. The walk looks at all slots first, after a
 * barrier, and then once more for each folio that it found there. That needs the reference of step
 * 3, too: a slot that names the folio means this use of it, or a publication that is being called
 * off. The slots come before the count, both times: a pin that is converted in between is counted
 * twice, else it would be missed (the acquire of the scan has the count from before the slot was
 * cleared). The limbo list has a reference of the cache's own (cache/limbo.h).
 *
 * So the cache's own references are never counted as pins, except between that and the put; and a
 * pin is never taken for a reference of the cache. The reference of step 3 briefly blocks evictors,
 * so the walk is counted as its holder until it puts it (core/progress.h).
 *
 * A program compiled with FOLIO_REF_DEBUG records its pins in a table of bounded size, one for each
 * cache, allocated at the first record. Pins of a folio that one thread took at one source line
 * share an entry. A put does not identify the pin that it drops: it removes the latest one of its
 * thread, or else one that the table had no space for, or else the latest of another thread.
 */
#include "api/pins.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/pause.h"
#include "cache/limbo.h"
#include "cache/publish.h"
#include "cache/table.h"
#include "cache/thread.h"

/* ---- the table of a program's pins ---- */

#define HOLDERS 4096u
#define HEADS   1024u
#define NONE    UINT32_MAX

struct holder {
	const struct folio *folio;
	struct folio_holder info;
	uint32_t next;
};

struct pins {
	pthread_mutex_t lock; /* guards all fields; no lock is taken under it */
	uint32_t head[HEADS]; /* hash chains, the latest entry first */
	uint32_t *lost;       /* by page frame: pins that the table had no space for */
	uint32_t free, used;  /* in holder: the free list; entries from used on are unused */
	struct holder holder[HOLDERS];
};

static unsigned head_of(const struct folio_cache *cache, const struct folio *folio)
{
	/* A multiplicative hash: spreads adjacent folios of any order. */
	return (pool_page(&cache->pool, folio) * UINT32_C(0x9e3779b1)) >> 22;
}

static struct pins *pins_of(struct folio_cache *cache)
{
	/* acquire: pairs with the compare-and-swap in pins_make. */
	return folio_ptr_load_acquire(&cache->pins);
}

static void pins_free(struct pins *pins)
{
	pthread_mutex_destroy(&pins->lock);
	free(pins->lost);
	free(pins);
}

static struct pins *pins_make(struct folio_cache *cache)
{
	struct pins *pins = pins_of(cache);
	void *none = NULL;
	unsigned i;

	if (pins)
		return pins;
	pins = malloc(sizeof(*pins));
	if (!pins)
		return NULL;
	pins->lost = calloc(cache->pool.pages, sizeof(*pins->lost));
	if (!pins->lost) {
		free(pins);
		return NULL;
	}
	pthread_mutex_init(&pins->lock, NULL);
	for (i = 0; i < HEADS; i++)
		pins->head[i] = NONE;
	pins->free = NONE;
	pins->used = 0;
	FOLIO_PAUSE(pins_made, NULL);
	/* release: pairs with pins_of; the table is initialized before a thread can find it. */
	if (folio_ptr_cas_release(&cache->pins, &none, pins))
		return pins;
	pins_free(pins);
	return pins_of(cache);
}

void pins_destroy(struct folio_cache *cache)
{
	struct pins *pins = pins_of(cache);

	if (pins)
		pins_free(pins);
}

static uint32_t holder_new(struct pins *pins)
{
	uint32_t n = pins->free;

	if (n != NONE)
		pins->free = pins->holder[n].next;
	else if (pins->used < HOLDERS)
		n = pins->used++;
	return n;
}

/*
 * Find the latest entry for @folio of @thread (0: any), at @file and @line (NULL: any). Returns the
 * index that points to it, or NULL.
 */
static uint32_t *find(struct pins *pins, unsigned head, const struct folio *folio, pid_t thread,
	const char *file, int line)
{
	uint32_t *at;

	for (at = &pins->head[head]; *at != NONE; at = &pins->holder[*at].next) {
		const struct holder *holder = &pins->holder[*at];

		if (holder->folio == folio && (!thread || holder->info.thread == thread) &&
			(!file || (holder->info.file == file && holder->info.line == line)))
			return at;
	}
	return NULL;
}

void folio_pin_taken(const struct folio *folio, const char *file, int line)
{
	struct folio_cache *cache = cache_in_process(folio);
	struct pins *pins = cache ? pins_make(cache) : NULL;
	pid_t thread = gettid();
	uint32_t *at, n;
	unsigned head;

	if (!pins)
		return;
	head = head_of(cache, folio);
	pthread_mutex_lock(&pins->lock);
	at = find(pins, head, folio, thread, file, line);
	if (at) {
		n = *at;
		*at = pins->holder[n].next;
		pins->holder[n].info.count++;
	} else {
		n = holder_new(pins);
		if (n != NONE) {
			pins->holder[n].folio = folio;
			pins->holder[n].info = (struct folio_holder){
				.file = file, .line = line, .thread = thread, .count = 1};
		}
	}
	if (n != NONE) {
		pins->holder[n].next = pins->head[head];
		pins->head[head] = n;
	} else {
		pins->lost[pool_page(&cache->pool, folio)]++;
	}
	pthread_mutex_unlock(&pins->lock);
}

void folio_pin_put(const struct folio *folio)
{
	struct folio_cache *cache = cache_in_process(folio);
	struct pins *pins = cache ? pins_of(cache) : NULL;
	uint32_t *at, *lost;
	unsigned head;

	if (!pins)
		return;
	head = head_of(cache, folio);
	lost = &pins->lost[pool_page(&cache->pool, folio)];
	pthread_mutex_lock(&pins->lock);
	at = find(pins, head, folio, gettid(), NULL, 0);
	if (!at && *lost)
		--*lost;
	else if (!at)
		at = find(pins, head, folio, 0, NULL, 0);
	if (at && --pins->holder[*at].info.count == 0) {
		uint32_t n = *at;

		*at = pins->holder[n].next;
		pins->holder[n].next = pins->free;
		pins->free = n;
	}
	pthread_mutex_unlock(&pins->lock);
}

/* Report a holder, if there is space. */
static void add_holder(struct folio_pinned *pinned, struct folio_holder holder[FOLIO_HOLDERS_MAX],
	const struct folio_holder *found)
{
	if (pinned->holders == FOLIO_HOLDERS_MAX)
		return;
	holder[pinned->holders++] = *found;
	pinned->unknown -= found->count < pinned->unknown ? found->count : pinned->unknown;
}

/*
 * Report the threads whose published pins are not among the holders that were recorded. That of a
 * thread that has ended is not known any more, but no more pins are reported than there are.
 */
static void add_published(
	struct folio_pinned *pinned, struct folio_holder holder[FOLIO_HOLDERS_MAX])
{
	uint32_t recorded = pinned->holders;
	struct publish_block *block;
	unsigned i;

	for (block = publish_blocks(); block; block = block->next) {
		struct folio_holder found = {
			.thread = (pid_t)folio_u32_load_relaxed(&block->thread)};

		for (i = 0; i < PUBLISH_SLOTS; i++)
			found.count += slot_has(&block->slot[i], pinned->folio);
		for (i = 0; i < recorded; i++)
			if (holder[i].thread == found.thread)
				found.count = 0;
		if (found.count > pinned->unknown)
			found.count = pinned->unknown;
		if (found.count)
			add_holder(pinned, holder, &found);
	}
}

/* Report up to FOLIO_HOLDERS_MAX holders of a folio. */
static void add_holders(struct folio_cache *cache, struct folio_pinned *pinned,
	struct folio_holder holder[FOLIO_HOLDERS_MAX])
{
	struct pins *pins = pins_of(cache);
	uint32_t n;

	pinned->holder = holder;
	pinned->unknown = pinned->references;
	if (!pins) {
		add_published(pinned, holder);
		return;
	}
	pthread_mutex_lock(&pins->lock);
	for (n = pins->head[head_of(cache, pinned->folio)]; n != NONE; n = pins->holder[n].next) {
		if (pins->holder[n].folio == pinned->folio)
			add_holder(pinned, holder, &pins->holder[n].info);
	}
	pthread_mutex_unlock(&pins->lock);
	add_published(pinned, holder);
}

/* ---- the walk ---- */

/* Steps 1 and 2. */
static bool may_be_pinned(const struct folio_cache *cache, struct folio *folio)
{
	uint32_t count = folio_ref_count(&folio->ref);

	if (count != 1)
		return count > 1;
	/*
	 * acquire: pairs with the release in the put of the tree's reference, and in unfreeze; the
	 * loads below see the owner and the version from before them.
	 */
	folio_fence_acquire();
	return folio_u64_load_relaxed(pool_version(&cache->pool, folio)) & VERSION_CHANGING ||
	       !folio_ptr_load_relaxed(&folio->owner);
}

/* Step 5. Returns the count without the reference of this walk, and those of the cache itself. */
static uint32_t describe_file(
	struct folio_cache *cache, struct folio *folio, struct folio_pinned *pinned)
{
	uint32_t references;
	struct inode *inode;
	uint32_t own = 0;

	/* acquire: pairs with the publication of the owner, as in evict/evict.c. */
	inode = folio_ptr_load_acquire(&folio->owner);
	FOLIO_PAUSE(pins_owner, folio);
	if (inode) {
		tree_lock(&inode->tree);
		if (folio_ptr_load_relaxed(&folio->owner) == inode) {
			uint32_t flags = folio_u32_load_relaxed(&folio->flags);

			pinned->in_file = true;
			pinned->device = inode->device;
			pinned->inode = inode->number;
			pinned->dirty = flags & FOLIO_DIRTY;
			pinned->writeback = flags & FOLIO_WRITEBACK;
			own = 1 + (pinned->dirty || pinned->writeback);
			references = folio_ref_count(&folio->ref);
		}
		tree_unlock(&inode->tree);
	}
	if (!pinned->in_file)
		own = limbo_references(cache, folio, &references);
	return references - 1 - own;
}

/* Steps 3 to 5. Returns false if the folio is not pinned. */
static bool examine(struct folio_cache *cache, struct folio *folio, struct folio_pinned *pinned,
	struct folio_holder holder[FOLIO_HOLDERS_MAX])
{
	bool got, even;

	progress_hold(&cache->progress);
	got = folio_ref_try_get(&folio->ref);
	if (!got) {
		progress_unhold(&cache->progress, false);
		return false;
	}
	*pinned = (struct folio_pinned){
		.size = sizeof(*pinned),
		.folio = folio,
		.type = cache->type[folio->type].name,
		.index = folio_u64_load_relaxed(&folio->index),
		.order = folio->order,
	};
	/* acquire: orders the load of the version before that of the flags. */
	even = !(folio_u64_load_acquire(pool_version(&cache->pool, folio)) & VERSION_CHANGING);
	/* acquire: pairs with folio_filled. */
	if (folio_u32_load_acquire(&folio->flags) & FOLIO_UPTODATE || even) {
		if (folio->type == FOLIO_TYPE_FILE) {
			pinned->published = publish_count(folio);
			pinned->references = describe_file(cache, folio, pinned);
			pinned->references += pinned->published;
		} else {
			pinned->own = true;
			pinned->owner = folio_ptr_load_relaxed(&folio->owner);
			pinned->references = folio_ref_count(&folio->ref) - 1;
		}
	}
	/* Before the put, after which the descriptor may be reused. */
	if (pinned->references && holder)
		add_holders(cache, pinned, holder);
	FOLIO_PAUSE(pins_noted, folio);
	progress_unhold(&cache->progress, progress_put(folio));
	return pinned->references > 0;
}

ssize_t folio_cache_pins(struct folio_cache *cache, folio_pinned_fn *visit, void *context)
{
	struct publish_set set;
	ssize_t visited = 0;
	uint32_t page;

	if (!cache)
		return -EINVAL;
	if (!thread_enter(cache, cache->id))
		return -ESTALE;
	publish_scan(&cache->pool, true, &set);
	for (page = 0; page < cache->pool.pages; page++) {
		struct folio *folio = pool_folio(&cache->pool, page);
		struct folio_holder holder[FOLIO_HOLDERS_MAX];
		struct folio_pinned pinned;

		if ((!publish_has(&set, &cache->pool, folio) && !may_be_pinned(cache, folio)) ||
			!examine(cache, folio, &pinned, visit ? holder : NULL))
			continue;
		visited++;
		if (visit && !visit(&pinned, context))
			break;
	}
	return visited;
}

/* ---- as text ---- */

struct sums {
	FILE *stream;
	uint64_t pages;
	uint64_t references;
};

static bool print(const struct folio_pinned *pinned, void *context)
{
	struct sums *sums = context;
	FILE *stream = sums->stream;
	uint32_t i;

	if (pinned->in_file)
		fprintf(stream, "device %" PRIu64 ", inode %" PRIu64 ", page %" PRIu64,
			pinned->device, pinned->inode, pinned->index);
	else if (!pinned->own)
		fprintf(stream, "dropped from its file, page %" PRIu64, pinned->index);
	else
		fprintf(stream, "%s, owner %p", pinned->type, pinned->owner);
	fprintf(stream, ", order %u: %u references%s%s\n", pinned->order, pinned->references,
		pinned->dirty ? ", dirty" : "", pinned->writeback ? ", being written" : "");
	for (i = 0; i < pinned->holders; i++) {
		const struct folio_holder *holder = &pinned->holder[i];

		if (holder->file)
			fprintf(stream, "  %u at %s:%d, thread %ld\n", holder->count, holder->file,
				holder->line, (long)holder->thread);
		else
			fprintf(stream, "  %u published by thread %ld\n", holder->count,
				(long)holder->thread);
	}
	if (pinned->holders && pinned->unknown)
		fprintf(stream, "  %u of unknown origin\n", pinned->unknown);
	sums->pages += UINT64_C(1) << pinned->order;
	sums->references += pinned->references;
	return true;
}

ssize_t folio_cache_pins_print(struct folio_cache *cache, FILE *stream)
{
	struct sums sums = {.stream = stream};
	ssize_t folios;

	if (!stream)
		return -EINVAL;
	folios = folio_cache_pins(cache, print, &sums);
	if (folios >= 0)
		fprintf(stream,
			"%zd folios of %" PRIu64 " pages are pinned by %" PRIu64 " references\n",
			folios, sums.pages, sums.references);
	return folios;
}
