/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Published pins: which pins are, what keeps a page, what frees it, and what freezers ask the
 * kernel for. Of all system calls, membarrier can be made to fail.
 */
#include <dlfcn.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <folio/pin.h>
#include <folio/pins.h>
#include <folio/type.h>

#include "cache/publish.h"
#include "cache/split.h"
#include "evict-world.h"

#if defined(__SANITIZE_THREAD__)
/* In a child of fork, it cannot start threads. */
#define FORKS false
#else
#define FORKS true
#endif

/* As in fork.c: in the child of a process with threads, ASan's allocator may stay locked. */
#if defined(__SANITIZE_ADDRESS__)
#define ALLOCATOR_FORKS_BADLY true
#else
#define ALLOCATOR_FORKS_BADLY false
#endif

/* ---- membarrier ---- */

static struct {
	bool refuse_register, refuse; /* ENOSYS; EPERM */
	folio_u32 registered, barriers;
} kernel;

long syscall(long number, ...)
{
	long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	va_list list;
	long a[6];
	unsigned i;

	va_start(list, number);
	for (i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_membarrier) {
		bool is_register = a[0] == MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;

		folio_u32_fetch_add_relaxed(is_register ? &kernel.registered : &kernel.barriers, 1);
		if (is_register ? kernel.refuse_register : kernel.refuse) {
			errno = is_register ? ENOSYS : EPERM;
			return -1;
		}
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- helpers ---- */

static void expect_pinned(struct world *world, const struct folio_pin *pin, uint64_t index)
{
	assert_true(io_fault_check(world->contents, index * PAGE, pin->page, PAGE, NULL, NULL));
	assert_ptr_equal(folio_page(pin->folio, index), pin->page);
}

/* Pins a page, which is cached or read first. */
static struct folio_pin publish(struct world *world, uint64_t index)
{
	struct folio_pin pin;

	touch(world, index);
	assert_int_equal(folio_file_pin(world->file, index, 0, &pin), 0);
	assert_non_null(pin.slot);
	expect_pinned(world, &pin, index);
	return pin;
}

static void unpin_all(struct folio_pin *pin, unsigned count)
{
	while (count-- > 0)
		folio_unpin(&pin[count]);
}

static uint64_t free_pages(struct world *world)
{
	return pool_free_pages(&world->cache->pool);
}

static unsigned free_slots(void)
{
	unsigned i, n = 0;

	for (i = 0; i < PUBLISH_SLOTS; i++)
		n += slot_is_free(&publish_mine.block->slot[i]);
	return n;
}

/* ---- the tests ---- */

/* Runs @check in a child of fork, for what a process does only once. */
static void in_child(void (*check)(void))
{
	int status = 0;
	pid_t pid;

	if (!FORKS) {
		print_message("# skipped: threads cannot be started after a fork\n");
		return;
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		alarm(60);
		check();
		_exit(0);
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	assert_int_equal(status, 0);
}

#define EXPECT(condition)                                                               \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1);                                                       \
		}                                                                       \
	} while (0)

/* The page stays, and others are evicted. */
static void expect_kept(struct world *world)
{
	struct folio_pin pin;
	char buf[8];
	uint64_t i;

	EXPECT(folio_file_read(world->file, buf, sizeof(buf), 0) == sizeof(buf));
	EXPECT(folio_file_pin(world->file, 0, 0, &pin) == 0 && pin.slot);
	for (i = 1; i < 1000; i++)
		EXPECT(folio_file_read(world->file, buf, sizeof(buf), i * PAGE) == sizeof(buf));
	EXPECT(io_fault_check(world->contents, 0, pin.page, PAGE, NULL, NULL));
	EXPECT(page_cached(world->file, 0) && !page_cached(world->file, 1));
	folio_unpin(&pin);
	for (i = 1; i < 1000; i++)
		EXPECT(folio_file_read(world->file, buf, sizeof(buf), i * PAGE) == sizeof(buf));
	EXPECT(!page_cached(world->file, 0));
}

static void without_membarrier(void)
{
	struct world world;

	kernel.refuse_register = kernel.refuse = true;
	evict_world_begin(&world, 64);
	expect_kept(&world);
	EXPECT(publish_mine.fence);
	EXPECT(!folio_u32_load_relaxed(&kernel.barriers));
	world_end(&world);
}

/* Promised, and then refused: no page is taken, and none is lost. */
static void forbid_membarrier(bool allowed_again)
{
	struct folio_pin pin;
	struct world world;
	uint64_t i, before;
	char buf[8];
	ssize_t r;

	evict_world_begin(&world, 64);
	EXPECT(folio_file_read(world.file, buf, sizeof(buf), 0) == sizeof(buf));
	EXPECT(folio_file_pin(world.file, 0, 0, &pin) == 0 && pin.slot);
	kernel.refuse = true;
	for (i = 1, r = sizeof(buf); r == sizeof(buf) && i < 1000; i++)
		r = folio_file_read(world.file, buf, sizeof(buf), i * PAGE);
	EXPECT(r == -ENOMEM);
	EXPECT(io_fault_check(world.contents, 0, pin.page, PAGE, NULL, NULL));
	folio_unpin(&pin);
	EXPECT(folio_file_invalidate(world.file, 0, FILE_PAGES * PAGE) == 0);
	EXPECT(!page_cached(world.file, 0));
	/* Each call looks at the limbo list, and knows no more than the one before. */
	before = free_pages(&world);
	EXPECT(folio_file_invalidate(world.file, 0, FILE_PAGES * PAGE) == 0);
	EXPECT(free_pages(&world) == before);
	if (allowed_again) {
		kernel.refuse = false;
		EXPECT(folio_file_read(world.file, buf, sizeof(buf), 0) == sizeof(buf));
	}
	/* No call is running: that needs no barrier. */
	world_end(&world);
}

static void membarrier_forbidden(void)
{
	forbid_membarrier(false);
}

static void membarrier_forbidden_for_a_while(void)
{
	forbid_membarrier(true);
}

/*
 * First of all tests: as long as no pin was published, freezers call no membarrier. The children
 * find the process in that state, too.
 */
static void test_unused(void **state)
{
	struct world world;

	(void)state;
	evict_world_begin(&world, 64);
	touch_all(&world, 0, 1000, 1);
	assert_int_equal(folio_file_invalidate(world.file, 0, 1000 * PAGE), 0);
	world_end(&world);
	assert_int_equal(folio_u32_load_relaxed(&kernel.registered), 0);
	assert_int_equal(folio_u32_load_relaxed(&kernel.barriers), 0);
	in_child(without_membarrier);
	in_child(membarrier_forbidden);
	in_child(membarrier_forbidden_for_a_while);
}

static void test_arguments(void **state)
{
	struct folio_pin pin;
	struct world world;

	(void)state;
	evict_world_begin(&world, 64);
	assert_int_equal(folio_file_pin(NULL, 0, 0, &pin), -EINVAL);
	assert_int_equal(folio_file_pin(world.file, 0, 0, NULL), -EINVAL);
	assert_int_equal(folio_file_pin(world.file, 0, 2, &pin), -EINVAL);
	assert_int_equal(folio_pin_convert(NULL), -EINVAL);
	assert_int_equal(folio_file_pin(world.file, FILE_PAGES, 0, &pin), -ENODATA);
	assert_int_equal(folio_file_pin(world.file, UINT64_MAX, 0, &pin), -ENODATA);
	world_end(&world);
}

/* Which pins are published: of a cached page, eight of a thread, in any order. */
static void test_published(void **state)
{
	struct folio_pin pin[PUBLISH_SLOTS + 1];
	struct world world;
	uint64_t hits;
	unsigned i;

	(void)state;
	evict_world_begin(&world, 256);
	assert_int_equal(folio_file_pin(world.file, 0, 0, pin), 0);
	assert_null(pin->slot);
	expect_pinned(&world, pin, 0);
	assert_int_equal(page_references(world.file, 0), 2);
	folio_unpin(pin);

	hits = cache_stats(world.cache).hits;
	for (i = 0; i < PUBLISH_SLOTS; i++) {
		touch(&world, i);
		assert_int_equal(folio_file_pin(world.file, i, FOLIO_GET_NOWAIT, &pin[i]), 0);
		assert_non_null(pin[i].slot);
		expect_pinned(&world, &pin[i], i);
		assert_int_equal(page_references(world.file, i), 1);
		assert_int_equal(free_slots(), PUBLISH_SLOTS - 1 - i);
	}
	assert_int_equal(cache_stats(world.cache).hits, hits + 2 * PUBLISH_SLOTS - 7);
	assert_int_equal(folio_file_pin(world.file, 0, 0, &pin[i]), 0);
	assert_null(pin[i].slot);
	folio_unpin(&pin[5]);
	pin[5] = publish(&world, 100);
	unpin_all(pin, PUBLISH_SLOTS + 1);
	assert_int_equal(free_slots(), PUBLISH_SLOTS);
	assert_int_equal(page_references(world.file, 0), 1);
	world_end(&world);
}

/* Only a page that no thread changes or holds is pinned by publication, and only valid bytes. */
static void test_not_published(void **state)
{
	struct folio_pin pin = {NULL, NULL, NULL};
	struct folio *folio;
	struct world world;
	folio_u64 *version;

	(void)state;
	evict_world_begin(&world, 256);
	pin = publish(&world, 3);
	folio = pin.folio;
	folio_unpin(&pin);
	version = pool_version(&world.cache->pool, folio);

	assert_true(publish_hold(version));
	assert_false(publish_hold(version));
	assert_int_equal(folio_file_pin(world.file, 3, 0, &pin), 0);
	assert_null(pin.slot);
	assert_int_equal(free_slots(), PUBLISH_SLOTS);
	/* A change leaves the hold. */
	pool_change_begin(&world.cache->pool, folio);
	pool_change_end(&world.cache->pool, folio);
	assert_false(publish_hold(version));
	publish_unhold(version);
	folio_unpin(&pin);
	pool_change_begin(&world.cache->pool, folio);
	assert_int_equal(folio_file_pin(world.file, 3, 0, &pin), 0);
	assert_null(pin.slot);
	pool_change_end(&world.cache->pool, folio);
	folio_unpin(&pin);
	pin = publish(&world, 3);
	folio_unpin(&pin);

	/* A folio of four pages of which the file has one and a half. */
	expect_read(&world, 8 * PAGE, 4 * PAGE, 1);
	folio = entry_folio(tree_load(&world.file->inode->tree, 8));
	if (folio_order(folio) == 2) {
		set_valid(world.file, folio, 3 * PAGE / 2);
		pin = publish(&world, 9);
		folio_unpin(&pin);
		/* The rest is read again. */
		assert_int_equal(folio_file_pin(world.file, 10, 0, &pin), 0);
		assert_null(pin.slot);
		folio_unpin(&pin);
		assert_int_equal(free_slots(), PUBLISH_SLOTS);
	}
	world_end(&world);
}

/* A pinned page stays while all others are evicted, also if nothing else is left to evict. */
static void test_evict(void **state)
{
	struct folio_pin pin[PUBLISH_SLOTS];
	folio_u64 *version;
	struct world world;
	uint64_t barriers;
	unsigned i;

	(void)state;
	evict_world_begin(&world, 2560);
	quiet_background(&world);
	for (i = 0; i < PUBLISH_SLOTS; i++)
		pin[i] = publish(&world, 1000 * i);
	barriers = folio_u32_load_relaxed(&kernel.barriers);
	touch_all(&world, 10000, 20000, 1);
	for (i = 0; i < PUBLISH_SLOTS; i++) {
		expect_pinned(&world, &pin[i], 1000 * i);
		assert_int_equal(page_references(world.file, 1000 * i), 1);
	}
	barriers = folio_u32_load_relaxed(&kernel.barriers) - barriers;
	assert_true(barriers > 0);
	assert_true(cache_stats(world.cache).evictions / barriers >= 20);
	unpin_all(pin, PUBLISH_SLOTS);
	/* A page that another freezer holds stays, too. */
	pin[0] = publish(&world, 7777);
	folio_unpin(&pin[0]);
	version = pool_version(&world.cache->pool, pin[0].folio);
	assert_true(publish_hold(version));
	touch_all(&world, 30000, 8000, 1);
	assert_true(page_cached(world.file, 7777));
	publish_unhold(version);
	for (i = 0; i < PUBLISH_SLOTS; i++)
		assert_false(page_cached(world.file, 1000 * i));
	/* No hold is left. */
	for (i = 0; i < world.cache->pool.pages; i++)
		assert_int_equal(
			folio_u64_load_relaxed(&world.cache->pool.version[i]) & VERSION_HELD, 0);
	world_end(&world);
}

/* A large folio of which a pin is published is not split. */
static void test_split(void **state)
{
	struct folio_pin pin;
	struct folio *folio;
	struct world world;
	uint64_t barriers;

	(void)state;
	evict_world_begin(&world, 1024);
	expect_read(&world, 64 * PAGE, 64 * PAGE, 1);
	pin = publish(&world, 70);
	assert_int_equal(folio_file_get(world.file, 70, 0, &folio), 0);
	assert_ptr_equal(folio, pin.folio);
	assert_true(folio_order(folio) > 0);
	assert_true(folio_lock_wait(folio, NULL));
	barriers = folio_u32_load_relaxed(&kernel.barriers);
	assert_false(inode_split(world.file->inode, folio, 70));
	assert_true(folio_u32_load_relaxed(&kernel.barriers) > barriers);
	assert_true(folio_order(folio) > 0);
	folio_unpin(&pin);
	/* Another freezer has it. */
	assert_true(publish_hold(pool_version(&world.cache->pool, folio)));
	assert_false(inode_split(world.file->inode, folio, 70));
	publish_unhold(pool_version(&world.cache->pool, folio));
	assert_true(inode_split(world.file->inode, folio, 70));
	folio_unlocked(folio);
	folio_put(folio);
	pin = publish(&world, 70);
	assert_int_equal(folio_order(pin.folio), 0);
	folio_unpin(&pin);
	world_end(&world);
}

struct pinner {
	struct world *world;
	uint64_t first;
	struct folio_pin pin[PUBLISH_SLOTS];
	unsigned free; /* slots, after one pin more */
	pthread_t thread;
};

static void *pin_and_end(void *arg)
{
	struct pinner *pinner = arg;
	unsigned i;

	char byte;

	/* The results are checked by the thread that runs the test. */
	for (i = 0; i < PUBLISH_SLOTS; i++) {
		folio_file_read(pinner->world->file, &byte, 1, (pinner->first + i) * PAGE);
		pinner->pin[i] = (struct folio_pin){0};
		folio_file_pin(pinner->world->file, pinner->first + i, 0, &pinner->pin[i]);
	}
	return NULL;
}

static struct publish_block *run_pinner(void *(*run)(void *), struct pinner *pinner)
{
	void *result;

	assert_int_equal(pthread_create(&pinner->thread, NULL, run, pinner), 0);
	pthread_join(pinner->thread, &result);
	return result;
}

/* Another thread publishes eight pins, and ends. */
static void pin_eight(struct pinner *pinner)
{
	unsigned i;

	run_pinner(pin_and_end, pinner);
	for (i = 0; i < PUBLISH_SLOTS; i++) {
		assert_non_null(pinner->pin[i].slot);
		expect_pinned(pinner->world, &pinner->pin[i], pinner->first + i);
	}
}

/*
 * Threads end with their pins. All memory is pinned: a read fails, and works after another thread
 * has ended the pins. The slots of the ended threads are used again once they are free.
 */
static void test_everything(void **state)
{
	enum { PINNERS = 16 };
	static struct pinner pinner[PINNERS + 1];
	struct folio_pin pin;
	struct world world;
	char buf[8];
	unsigned i;

	(void)state;
	evict_world_begin(&world, PINNERS * PUBLISH_SLOTS);
	quiet_background(&world);
	for (i = 0; i < PINNERS; i++) {
		pinner[i].world = &world;
		pinner[i].first = 100 * i;
		pin_eight(&pinner[i]);
	}
	assert_int_equal(folio_file_read(world.file, buf, sizeof(buf), 5000 * PAGE), -ENOMEM);
	assert_int_equal(folio_file_pin(world.file, 5000, 0, &pin), -ENOMEM);
	assert_int_equal(folio_cache_pins(world.cache, NULL, NULL), PINNERS * PUBLISH_SLOTS);
	assert_int_equal(folio_cache_resize(world.cache, 64 * PAGE), -EBUSY);
	for (i = 0; i < PINNERS; i++) {
		expect_pinned(&world, &pinner[i].pin[3], 100 * i + 3);
		unpin_all(pinner[i].pin, PUBLISH_SLOTS);
	}
	touch(&world, 5000);
	pinner[i].world = &world;
	pin_eight(&pinner[i]);
	unpin_all(pinner[i].pin, PUBLISH_SLOTS);
	assert_int_equal(folio_cache_resize(world.cache, 64 * PAGE), 0);
	world_end(&world);
}

static void *use_block(void *arg)
{
	struct pinner *pinner = arg;
	struct folio_pin pin;
	char byte;

	folio_file_read(pinner->world->file, &byte, 1, 7 * PAGE);
	folio_file_pin(pinner->world->file, 7, 0, &pin);
	pinner->free = free_slots();
	folio_unpin(&pin);
	return publish_mine.block;
}

/* The block of a thread that has ended is for the next one, as soon as its last pin has ended. */
static void test_blocks(void **state)
{
	struct publish_block *one, *other;
	static struct pinner pinner;
	struct world world;

	(void)state;
	evict_world_begin(&world, 256);
	pinner.world = &world;
	one = run_pinner(use_block, &pinner);
	assert_ptr_equal(run_pinner(use_block, &pinner), one);
	pin_eight(&pinner);
	unpin_all(pinner.pin + 1, PUBLISH_SLOTS - 1);
	other = run_pinner(use_block, &pinner);
	assert_true(other != one);
	assert_int_equal(pinner.free, PUBLISH_SLOTS - 1);
	expect_pinned(&world, pinner.pin, 0);
	folio_unpin(pinner.pin);
	/* Either may be the first of those that are free. */
	one = run_pinner(use_block, &pinner);
	assert_ptr_equal(run_pinner(use_block, &pinner), one);
	world_end(&world);
}

static bool see(const struct folio_pinned *pinned, void *context)
{
	struct folio_pinned *seen = context;

	*seen = *pinned;
	if (pinned->holders) {
		assert_int_equal(pinned->holders, 1);
		assert_null(pinned->holder->file);
		assert_int_equal(pinned->holder->thread, gettid());
		assert_int_equal(pinned->holder->count, pinned->published);
	}
	return true;
}

/*
 * A pinned page leaves its file: it stays as it is, is reported, and is free some time after the
 * end of the pin. The file has another page there.
 */
static void test_limbo(void **state)
{
	struct folio_pinned seen = {.size = 0};
	struct folio_pin pin, twice, now;
	struct world world;
	uint64_t all, barriers;

	(void)state;
	evict_world_begin(&world, 256);
	quiet_background(&world);
	all = free_pages(&world);
	pin = publish(&world, 9);
	twice = publish(&world, 9);
	assert_int_equal(folio_cache_pins(world.cache, see, &seen), 1);
	assert_true(seen.in_file && seen.references == 2 && seen.published == 2);
	assert_int_equal(seen.index, 9);
	assert_int_equal(seen.unknown, 0);
	io_fault_change(world.contents);
	barriers = folio_u32_load_relaxed(&kernel.barriers);
	assert_int_equal(folio_file_invalidate(world.file, 0, FILE_PAGES * PAGE), 0);
	assert_int_equal(folio_u32_load_relaxed(&kernel.barriers), barriers + 1);
	assert_false(page_cached(world.file, 9));
	assert_int_equal(free_pages(&world), all - 1);
	expect_pinned(&world, &pin, 9);
	assert_int_equal(folio_cache_pins(world.cache, see, &seen), 1);
	assert_true(!seen.in_file && seen.references == 2 && seen.published == 2);
	now = publish(&world, 9);
	assert_true(now.folio != pin.folio);
	folio_unpin(&now);
	folio_unpin(&pin);
	/* A drop looks at the list. One pin is left. */
	assert_int_equal(folio_file_invalidate(world.file, 0, PAGE), 0);
	assert_int_equal(free_pages(&world), all - 2);
	expect_pinned(&world, &twice, 9);
	folio_unpin(&twice);
	assert_int_equal(folio_cache_pins(world.cache, see, &seen), 0);
	assert_int_equal(folio_file_invalidate(world.file, 0, PAGE), 0);
	assert_int_equal(free_pages(&world), all - 1);
	/* So does an eviction. */
	pin = publish(&world, 10);
	assert_int_equal(folio_file_invalidate(world.file, 10 * PAGE, PAGE), 0);
	folio_unpin(&pin);
	touch_all(&world, 1000, 400, 1);
	assert_int_equal(folio_u32_load_relaxed(&world.cache->limbo.folios), 0);
	world_end(&world);
}

/* As text, a published pin is one of a thread. */
static void test_print(void **state)
{
	struct folio_pin pin;
	struct world world;
	char *text = NULL, line[64];
	size_t len = 0;
	FILE *stream;

	(void)state;
	evict_world_begin(&world, 256);
	pin = publish(&world, 9);
	stream = open_memstream(&text, &len);
	assert_non_null(stream);
	assert_int_equal(folio_cache_pins_print(world.cache, stream), 1);
	fclose(stream);
	snprintf(line, sizeof(line), "\n  1 published by thread %ld\n", (long)gettid());
	assert_non_null(strstr(text, line));
	free(text);
	folio_unpin(&pin);
	world_end(&world);
}

/* Of several folios in the limbo list, those stay of which a pin is left. */
static void test_limbo_several(void **state)
{
	struct folio_pin pin[5];
	struct world world;
	uint64_t all;
	unsigned i;

	(void)state;
	evict_world_begin(&world, 256);
	quiet_background(&world);
	all = free_pages(&world);
	for (i = 0; i < 5; i++)
		pin[i] = publish(&world, 20 + i);
	assert_int_equal(folio_file_invalidate(world.file, 0, FILE_PAGES * PAGE), 0);
	assert_int_equal(free_pages(&world), all - 5);
	for (i = 0; i < 5; i += 2)
		folio_unpin(&pin[i]);
	assert_int_equal(folio_file_invalidate(world.file, 0, PAGE), 0);
	assert_int_equal(free_pages(&world), all - 2);
	expect_pinned(&world, &pin[1], 21);
	expect_pinned(&world, &pin[3], 23);
	assert_int_equal(folio_u32_load_relaxed(&world.cache->limbo.folios), 2);
	folio_unpin(&pin[1]);
	folio_unpin(&pin[3]);
	assert_int_equal(folio_file_invalidate(world.file, 0, PAGE), 0);
	assert_int_equal(free_pages(&world), all);
	world_end(&world);
}

/* A published pin survives the close of its file, and keeps its cache open. */
static void test_close(void **state)
{
	struct folio_pin pin;
	struct world world;

	(void)state;
	evict_world_begin(&world, 256);
	pin = publish(&world, 5);
	touch(&world, 6);
	assert_int_equal(folio_file_close(world.file), 0);
	expect_pinned(&world, &pin, 5);
	assert_int_equal(folio_cache_close(world.cache), -EBUSY);
	world.file = file_open(world.cache, "a");
	expect_pinned(&world, &pin, 5);
	assert_false(page_cached(world.file, 5));
	assert_int_equal(folio_file_close(world.file), 0);
	folio_unpin(&pin);
	assert_int_equal(folio_cache_close(world.cache), 0);
	io_fault_free(world.io);
}

/*
 * Present in a library whose counter checks itself (ref_debug), which takes this many references
 * for a leak.
 */
extern void (*folio_ref_on_misuse)(const struct folio_ref *ref, const char *what, const char *file,
	int line) __attribute__((weak));

static void expect_misuse(const struct folio_ref *ref, const char *what, const char *file, int line)
{
	(void)ref;
	(void)file;
	(void)line;
	if (!strstr(what, "more references than FOLIO_REF_MAX"))
		abort();
}

/* A converted pin is one by count, in its file and in the limbo list. */
static void test_convert(void **state)
{
	struct folio_pin pin;
	struct world world;
	uint32_t count;

	(void)state;
	evict_world_begin(&world, 256);
	pin = publish(&world, 4);
	assert_int_equal(folio_pin_convert(&pin), 0);
	assert_null(pin.slot);
	assert_int_equal(page_references(world.file, 4), 2);
	assert_int_equal(free_slots(), PUBLISH_SLOTS);
	assert_int_equal(folio_pin_convert(&pin), 0);
	assert_int_equal(page_references(world.file, 4), 2);
	folio_put(pin.folio);

	pin = publish(&world, 4);
	assert_int_equal(folio_file_invalidate(world.file, 0, FILE_PAGES * PAGE), 0);
	assert_int_equal(folio_pin_convert(&pin), 0);
	touch_all(&world, 1000, 1000, 1);
	expect_pinned(&world, &pin, 4);
	folio_unpin(&pin);

	if (&folio_ref_on_misuse)
		folio_ref_on_misuse = expect_misuse;
	pin = publish(&world, 5);
	count = FOLIO_REF_MAX - folio_ref_count(&pin.folio->ref);
	folio_u32_fetch_add_relaxed(&pin.folio->ref.word, count);
	assert_int_equal(folio_pin_convert(&pin), -EOVERFLOW);
	assert_non_null(pin.slot);
	folio_u32_fetch_sub_relaxed(&pin.folio->ref.word, count);
	expect_pinned(&world, &pin, 5);
	folio_unpin(&pin);
	world_end(&world);
}

static void *unpin_here(void *arg)
{
	struct folio_pin *pin = arg;

	folio_unpin(pin);
	return NULL;
}

static void test_hand_over(void **state)
{
	struct folio_pin pin;
	struct world world;
	pthread_t thread;

	(void)state;
	evict_world_begin(&world, 256);
	pin = publish(&world, 4);
	assert_int_equal(pthread_create(&thread, NULL, unpin_here, &pin), 0);
	pthread_join(thread, NULL);
	assert_int_equal(free_slots(), PUBLISH_SLOTS);
	world_end(&world);
}

static struct folio_pin inherited;
static struct folio_file *parents;

static void unpin_in_child(void)
{
	uint32_t registered = folio_u32_load_relaxed(&kernel.registered);
	struct world world;

	EXPECT(free_slots() == PUBLISH_SLOTS - 1);
	EXPECT(folio_file_pin(parents, 4, 0, &(struct folio_pin){0}) == -ESTALE);
	EXPECT(registered == 2);
	if (!ALLOCATOR_FORKS_BADLY) {
		evict_world_begin(&world, 64);
		expect_kept(&world);
	}
	EXPECT(free_slots() == PUBLISH_SLOTS - 1);
	folio_unpin(&inherited);
	EXPECT(free_slots() == PUBLISH_SLOTS);
	if (!ALLOCATOR_FORKS_BADLY) {
		expect_kept(&world);
		world_end(&world);
	}
}

/* The child has slots of its own, in which the pins of the parent stay until it unpins them. */
static void test_fork(void **state)
{
	struct world world;

	(void)state;
	evict_world_begin(&world, 256);
	inherited = publish(&world, 4);
	parents = world.file;
	folio_u32_store_relaxed(&kernel.registered, 1);
	in_child(unpin_in_child);
	expect_pinned(&world, &inherited, 4);
	folio_unpin(&inherited);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unused),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_published),
		cmocka_unit_test(test_not_published),
		cmocka_unit_test(test_evict),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_limbo),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_limbo_several),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_convert),
		cmocka_unit_test(test_hand_over),
		cmocka_unit_test(test_fork),
	};

	test_begin("pin");
	return cmocka_run_group_tests_name("pin", tests, NULL, NULL);
}
