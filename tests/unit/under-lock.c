/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a lock guards is used with the lock held. The test acts as another thread: it has the lock
 * just before a call of the library gets it, or while that waits for a change, and changes or looks
 * at what it guards.
 */
#include <dlfcn.h>

#include "write-world.h"
#include "write/writeback.h"

/* Called before this thread takes the lock, and after it has released it; not while they run. */
static _Thread_local struct {
	pthread_mutex_t *lock;
	void (*before)(void *arg);
	void (*after)(void *arg);
	void *arg;
} watch;

int pthread_mutex_lock(pthread_mutex_t *lock)
{
	static int (*next)(pthread_mutex_t *);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_mutex_lock");
	if (lock == watch.lock) {
		watch.lock = NULL;
		watch.before(watch.arg);
		watch.lock = lock;
	}
	return next(lock);
}

int pthread_mutex_unlock(pthread_mutex_t *lock)
{
	static int (*next)(pthread_mutex_t *);
	int r;

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
	r = next(lock);
	if (lock == watch.lock && watch.after) {
		watch.lock = NULL;
		watch.after(watch.arg);
		watch.lock = lock;
	}
	return r;
}

/* The condition that this thread may wait for, and what then makes it true. */
static _Thread_local struct {
	pthread_cond_t *change;
	struct inode *visited;
	unsigned waits;
} wait;

int pthread_cond_wait(pthread_cond_t *change, pthread_mutex_t *lock)
{
	if (change == wait.change) {
		wait.waits++;
		wait.visited->cache->writeback.current = NULL;
		return 0;
	}
	return ((__typeof__(&pthread_cond_wait))dlsym(RTLD_NEXT, "pthread_cond_wait"))(
		change, lock);
}

static void watch_begin(pthread_mutex_t *lock, void (*before)(void *arg), void *arg)
{
	watch.before = before;
	watch.after = NULL;
	watch.arg = arg;
	watch.lock = lock;
}

/* ---- the last error ---- */

struct failing {
	struct inode *inode;
	int error; /* the last one */
};

static void fail_again(void *arg)
{
	struct failing *failing = arg;

	dirty_record_error(failing->inode, ++failing->error);
}

static void submit_nothing(void *context, struct folio_io_request **requests, unsigned count)
{
	unsigned i;

	(void)context;
	for (i = 0; i < count; i++)
		requests[i]->complete(requests[i], -EIO);
}

static void world_begin_over(struct world *world, const struct folio_io_ops *ops)
{
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .io = ops, .dirty_age_ms = UINT32_MAX};
	int fd;

	memset(world, 0, sizeof(*world));
	strcpy(world->path, "folio-lock-XXXXXX");
	fd = mkstemp(world->path);
	assert_true(fd >= 0);
	close(fd);
	world_open(world, &params);
}

/* Write-back before a close returns what has failed last. */
static void test_last_error(void **state)
{
	static struct world world;
	struct folio_io_ops ops = folio_io_threads;
	struct failing failing = {.error = 1000};
	int error;

	(void)state;
	ops.submit = submit_nothing;
	world_begin_over(&world, &ops);
	assert_int_equal(folio_file_write(world.file, "x", 1, 0), 1);
	failing.inode = world.file->inode;
	watch_begin(&world.cache->writeback.lock, fail_again, &failing);
	error = writeback_clean(failing.inode, thread_enter(world.cache, world.cache->id));
	watch.lock = NULL;
	assert_int_equal(error, -failing.error);
	assert_true(failing.error > 1000);
	assert_int_equal(folio_file_abandon(world.file), -EIO);
	expect_quiet(world.cache, &world.limits);
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

/* ---- devices with more than they may have ---- */

struct throttled {
	struct folio_cache *cache;
	struct writeback_device *other;
	unsigned looks;
};

static void look_at_other(void *arg)
{
	struct throttled *throttled = arg;

	/* The first lock of the wait. */
	if (cache_stats(throttled->cache).throttled && !throttled->looks++)
		assert_int_equal(folio_u32_load_relaxed(&throttled->other->wanted), 0);
}

static int file_on_own_device(void *context, void *handle, struct folio_io_attr *attr)
{
	int r = folio_io_threads.getattr(context, handle, attr);

	attr->device += attr->inode;
	return r;
}

/* A writer that waits looks through the devices, which come and go. */
static void test_devices(void **state)
{
	static struct world world;
	struct folio_io_ops ops = folio_io_threads;
	struct throttled throttled = {.looks = 0};
	char path[] = "folio-other-XXXXXX";
	struct folio_file *other;
	struct writeback *writeback;
	uint64_t pages;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	ops.getattr = file_on_own_device;
	world_begin_over(&world, &ops);
	writeback = &world.cache->writeback;
	assert_int_equal(folio_file_open(world.cache, path, O_RDWR, 0, &other), 0);
	throttled.cache = world.cache;
	throttled.other = other->inode->backing;
	assert_ptr_not_equal(throttled.other, world.file->inode->backing);
	/* It has all, as if others had become faster since. */
	pages = folio_u64_load_relaxed(&writeback->pages_max);
	share_take(&throttled.other->share, SHARE_PAGES, pages);
	watch_begin(&writeback->lock, look_at_other, &throttled);
	assert_int_equal(folio_file_write(world.file, "x", 1, 0), 1);
	watch.lock = NULL;
	assert_int_equal(cache_stats(world.cache).throttled, 1);
	assert_true(throttled.looks > 0);
	share_give(&throttled.other->share, SHARE_PAGES, pages);
	assert_int_equal(folio_file_close(other), 0);
	unlink(path);
	world_end(&world);
}

/* ---- the flusher ---- */

/* A close sleeps while the flusher visits the file. */
static void test_close_during_visit(void **state)
{
	static struct world world;
	struct writeback *writeback;

	(void)state;
	world_begin_over(&world, &folio_io_threads);
	writeback = &world.cache->writeback;
	assert_int_equal(folio_file_write(world.file, "x", 1, 0), 1);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	pthread_mutex_lock(&writeback->lock);
	writeback->current = world.file->inode;
	pthread_mutex_unlock(&writeback->lock);
	wait.visited = world.file->inode;
	wait.change = &writeback->change;
	assert_int_equal(folio_file_close(world.file), 0);
	wait.change = NULL;
	assert_int_equal(wait.waits, 1);
	expect_quiet(world.cache, &world.limits);
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

/* ---- a tree that changes during each walk ---- */

struct changing {
	struct tree tree;
	folio_ptr *slot; /* of the first entry; looks as if nodes had left the tree */
	void *entry, *node;
};

static void settle(void *arg)
{
	struct changing *changing = arg;

	folio_ptr_store_release(changing->slot, changing->entry);
}

static void change_again(void *arg)
{
	struct changing *changing = arg;

	folio_ptr_store_release(changing->slot, changing->node);
}

/* A search that has failed too often without the lock waits for it, and searches once more. */
static void test_walk(void **state)
{
	static _Alignas(64) char memory[64]; /* the address is the entry */
	struct tree_budget budget;
	struct changing changing;
	uint64_t index = 0;
	void *found;

	(void)state;
	assert_int_equal(tree_budget_init(&budget, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(tree_init(&changing.tree, &budget), 0);
	tree_lock(&changing.tree);
	assert_int_equal(tree_store_locked(&changing.tree, 1, 0, memory), 0);
	tree_unlock(&changing.tree);
	changing.entry = tree_next(&changing.tree, &index, UINT64_MAX);
	assert_non_null(changing.entry);
	assert_int_equal(index, 1);
	changing.slot = &tree_root_node(folio_ptr_load_relaxed(&changing.tree.root))->slot[1];
	changing.node = (void *)((uintptr_t)memory + TREE_NODE);
	change_again(&changing);
	watch_begin(&changing.tree.lock, settle, &changing);
	watch.after = change_again;
	index = 0;
	found = tree_next(&changing.tree, &index, UINT64_MAX);
	watch.lock = NULL;
	assert_ptr_equal(found, changing.entry);
	assert_int_equal(index, 1);
	assert_int_equal(pthread_mutex_trylock(&changing.tree.lock), 0);
	settle(&changing);
	tree_erase_locked(&changing.tree, 1, 0, NULL);
	tree_unlock(&changing.tree);
	tree_destroy(&changing.tree);
	tree_budget_destroy(&budget);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_error),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_close_during_visit),
		cmocka_unit_test(test_walk),
	};

	test_begin("under-lock");
	return cmocka_run_group_tests_name("under-lock", tests, NULL, NULL);
}
