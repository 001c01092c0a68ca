/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pins.c - who holds what: a walk over all descriptors, and what a program tells of its pins.
 *
 * The walk, beside everything. What is said of a folio, with a pin on it that is there before and after:
 *
 *   1  the count        A pin keeps whoever freezes away, so neither frozen nor 0.
 *   2  one reference    It is the tree's if the version is even and the owner there; else look on. Were it the pin, the tree's
 *                       would have gone, and erase takes the owner away before (the put's release, the fence here); and a
 *                       folio of the program's own is odd all its life, from before unfreeze (release) on.
 *   3  try_get          From here on type, order and index stay as they are.
 *   4  even, or UPTODATE A program gets no other: by the hint it gets what is even, and that is so a little before UPTODATE
 *                       (fill.c, 5); locked it is odd, and that is so after it. Hence in this order. (From an earlier life?
 *                       Both are set before unfreeze.)
 *   5  the tree's lock  Under it the owner says whether the tree's reference is there, and the flags whether the dirty
 *                       state's is: both are given back only after the owner, or the flag, has been taken away.
 *
 * So the cache's own are never counted as pins, but for the moment between that and the put; and a pin is never taken for one
 * of the cache's. The reference of 3 keeps evictors away for a moment: it is counted as busy (evict.h).
 *
 * What the program tells is in a table of bounded size, one for each cache, made at the first word of it. Pins of a
 * folio that one thread took at one line are one entry. A put does not say which pin it gives back: the latest
 * of its thread, or else one that found no room, or else the latest of another thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache.h"
#include "pause.h"

/* ---- what the program tells ---- */

#define HOLDERS 4096u
#define HEADS   1024u
#define NONE    UINT32_MAX

struct holder {
	const struct folio *folio;
	struct folio_holder told;
	uint32_t next;
};

struct pins {
	pthread_mutex_t lock; /* guards all; nothing is taken under it */
	uint32_t head[HEADS]; /* the latest first */
	uint32_t *lost;       /* by page frame: pins for which there was no room */
	uint32_t free, used;  /* of holder: a list; from used on they never were */
	struct holder holder[HOLDERS];
};

/* A child of fork has its parent's descriptors, and nothing that they lead to (folio_release). */
static struct folio_cache *cache_in_use(const struct folio *folio)
{
	struct folio_cache *cache = cache_of(folio);

	return cache && pool_has(&cache->pool, folio) ? cache : NULL;
}

static unsigned head_of(const struct folio_cache *cache, const struct folio *folio)
{
	/* Neighbours in different places, with each of the orders. */
	return (pool_page(&cache->pool, folio) * UINT32_C(0x9e3779b1)) >> 22;
}

static struct pins *pins_of(struct folio_cache *cache)
{
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
	/* release: pairs with pins_of. */
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

/* Of @folio the latest of @thread (0: any), at that place (NULL: any). What points to it, or NULL. */
static uint32_t *find(struct pins *pins, unsigned head, const struct folio *folio, pid_t thread,
	const char *file, int line)
{
	uint32_t *at;

	for (at = &pins->head[head]; *at != NONE; at = &pins->holder[*at].next) {
		const struct holder *holder = &pins->holder[*at];

		if (holder->folio == folio && (!thread || holder->told.thread == thread) &&
			(!file || (holder->told.file == file && holder->told.line == line)))
			return at;
	}
	return NULL;
}

void folio_pin_taken(const struct folio *folio, const char *file, int line)
{
	struct folio_cache *cache = cache_in_use(folio);
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
		pins->holder[n].told.count++;
	} else {
		n = holder_new(pins);
		if (n != NONE) {
			pins->holder[n].folio = folio;
			pins->holder[n].told = (struct folio_holder){
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
	struct folio_cache *cache = cache_in_use(folio);
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
	if (at && --pins->holder[*at].told.count == 0) {
		uint32_t n = *at;

		*at = pins->holder[n].next;
		pins->holder[n].next = pins->free;
		pins->free = n;
	}
	pthread_mutex_unlock(&pins->lock);
}

/* Up to FOLIO_HOLDERS_MAX of a folio. */
static void add_holders(struct folio_cache *cache, struct folio_pinned *pinned,
	struct folio_holder holder[FOLIO_HOLDERS_MAX])
{
	struct pins *pins = pins_of(cache);
	uint32_t n;

	pinned->holder = holder;
	pinned->unknown = pinned->references;
	if (!pins)
		return;
	pthread_mutex_lock(&pins->lock);
	for (n = pins->head[head_of(cache, pinned->folio)]; n != NONE; n = pins->holder[n].next) {
		const struct holder *found = &pins->holder[n];

		if (found->folio != pinned->folio || pinned->holders == FOLIO_HOLDERS_MAX)
			continue;
		holder[pinned->holders++] = found->told;
		pinned->unknown -=
			found->told.count < pinned->unknown ? found->told.count : pinned->unknown;
	}
	pthread_mutex_unlock(&pins->lock);
}

/* ---- the walk ---- */

/* Steps 1 and 2. */
static bool may_be_pinned(struct folio *folio)
{
	uint32_t count = folio_ref_count(&folio->ref);

	if (count != 1)
		return count > 1;
	/* Pairs with the put of the tree's reference, and with unfreeze. */
	folio_fence_acquire();
	return folio_u64_load_relaxed(&folio->version) & 1 ||
	       !folio_ptr_load_relaxed(&folio->owner);
}

/* Step 5. @references: the count, less ours. */
static void describe_file(struct folio *folio, uint32_t references, struct folio_pinned *pinned)
{
	struct inode *inode;
	uint32_t own = 0;

	grace_read_lock();
	/* acquire: pairs with the tree's publication, as in evict.c. */
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
			references = folio_ref_count(&folio->ref) - 1;
		}
		tree_unlock(&inode->tree);
	}
	grace_read_unlock();
	pinned->references = references - own;
}

/* Steps 3 to 5. False: nobody holds it. */
static bool look(struct folio_cache *cache, struct folio *folio, struct folio_pinned *pinned,
	struct folio_holder holder[FOLIO_HOLDERS_MAX])
{
	bool got, even;

	evict_busy_begin(&cache->evict);
	got = folio_ref_try_get(&folio->ref);
	if (!got) {
		evict_busy_cancel(&cache->evict);
		return false;
	}
	*pinned = (struct folio_pinned){
		.size = sizeof(*pinned),
		.folio = folio,
		.type = cache->type[folio->type].name,
		.index = folio_u64_load_relaxed(&folio->index),
		.order = folio->order,
	};
	/* acquire: the version before the flags. */
	even = !(folio_u64_load_acquire(&folio->version) & 1);
	/* acquire: pairs with folio_filled. */
	if (folio_u32_load_acquire(&folio->flags) & FOLIO_UPTODATE || even) {
		uint32_t references = folio_ref_count(&folio->ref) - 1;

		if (folio->type == FOLIO_TYPE_FILE) {
			describe_file(folio, references, pinned);
		} else {
			pinned->own = true;
			pinned->owner = folio_ptr_load_relaxed(&folio->owner);
			pinned->references = references;
		}
	}
	/* While it has this life. */
	if (pinned->references && holder)
		add_holders(cache, pinned, holder);
	folio_put(folio);
	evict_busy_end(&cache->evict);
	return pinned->references > 0;
}

ssize_t folio_cache_pins(struct folio_cache *cache, folio_pinned_fn *tell, void *context)
{
	ssize_t told = 0;
	uint32_t page;

	if (!cache)
		return -EINVAL;
	if (!thread_enter(cache, cache->id))
		return thread_error(cache);
	for (page = 0; page < cache->pool.pages; page++) {
		struct folio *folio = pool_folio(&cache->pool, page);
		struct folio_holder holder[FOLIO_HOLDERS_MAX];
		struct folio_pinned pinned;

		if (!may_be_pinned(folio) || !look(cache, folio, &pinned, tell ? holder : NULL))
			continue;
		told++;
		if (tell && !tell(&pinned, context))
			break;
	}
	return told;
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
	for (i = 0; i < pinned->holders; i++)
		fprintf(stream, "  %u at %s:%d, thread %ld\n", pinned->holder[i].count,
			pinned->holder[i].file, pinned->holder[i].line,
			(long)pinned->holder[i].thread);
	if (pinned->holders && pinned->unknown)
		fprintf(stream, "  %u of which nothing is known\n", pinned->unknown);
	sums->pages += UINT64_C(1) << pinned->order;
	sums->references += pinned->references;
	return true;
}

ssize_t folio_cache_pins_print(struct folio_cache *cache, FILE *stream)
{
	struct sums sums = {.stream = stream};
	ssize_t told;

	if (!stream)
		return -EINVAL;
	told = folio_cache_pins(cache, print, &sums);
	if (told >= 0)
		fprintf(stream,
			"%zd folios of %" PRIu64 " pages are held, by %" PRIu64 " references\n",
			told, sums.pages, sums.references);
	return told;
}
