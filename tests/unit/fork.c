/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A child of fork: what its parent had pinned it may put, whatever the parent's other threads held at that moment, and it
 * may open as many caches as anybody. The parent goes on as if there were no child.
 */
#include <sys/wait.h>

#include "cache-test.h"

/* TSan's threads cannot be started in the child of a process that had any. */
#if defined(__SANITIZE_THREAD__)
#define FORKS false
#else
#define FORKS true
#endif

/* In the child, where cmocka cannot be told. */
#define EXPECT(condition)               \
	do {                            \
		if (!(condition))       \
			_exit(100 + i); \
	} while (0)

struct world {
	struct io_fault *io;
	struct io_fault_file *contents;
	struct folio_cache *cache;
	struct folio_file *file;
	/* The last reference each: of pages that were dropped, of the program's own. */
	struct folio *dropped[2], *private[2], *own[2];
	struct folio *cached; /* in its file */
	folio_u32 released;
};

static void released(struct folio *folio, void *context)
{
	struct world *world = context;

	(void)folio;
	folio_u32_fetch_add_relaxed(&world->released, 1);
}

static void world_begin(struct world *world)
{
	struct folio_type_params params = {
		.size = sizeof(params), .name = "own", .release = released, .context = world};
	unsigned i, type;

	folio_u32_store_relaxed(&world->released, 0);
	world->io = io_fault_new(test_seed, 1);
	world->contents = io_fault_add(world->io, "a", 1000 * PAGE);
	world->cache =
		cache_open(64, FOLIO_CACHE_NO_HUGE_PAGES | FOLIO_CACHE_NO_READAHEAD, world->io);
	world->file = file_open(world->cache, "a");
	assert_int_equal(folio_type_register(world->cache, &params, &type), 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(folio_file_get(world->file, i, 0, &world->dropped[i]), 0);
		assert_int_equal(
			folio_alloc(world->cache, 0, FOLIO_TYPE_PRIVATE, NULL, &world->private[i]),
			0);
		assert_int_equal(folio_alloc(world->cache, 1, type, NULL, &world->own[i]), 0);
	}
	assert_int_equal(folio_file_invalidate(world->file, 0, 2 * PAGE), 0);
	assert_int_equal(folio_file_get(world->file, 5, 0, &world->cached), 0);
}

static void put_some(struct world *world, unsigned i)
{
	folio_put(world->dropped[i]);
	folio_put(world->private[i]);
	folio_put(world->own[i]);
}

static void world_end(struct world *world)
{
	char buf[64];
	unsigned i;

	assert_true(io_fault_check(
		world->contents, 0, folio_page(world->dropped[0], 0), PAGE, NULL, NULL));
	assert_true(io_fault_check(
		world->contents, 5 * PAGE, folio_page(world->cached, 5), PAGE, NULL, NULL));
	for (i = 0; i < 2; i++)
		put_some(world, i);
	folio_put(world->cached);
	for (i = 0; i < 200; i++)
		assert_int_equal(
			folio_file_read(world->file, buf, sizeof(buf), i * PAGE), sizeof(buf));
	assert_int_equal(folio_file_close(world->file), 0);
	assert_int_equal(folio_cache_close(world->cache), 0);
	assert_int_equal(folio_u32_load_relaxed(&world->released), 2);
	io_fault_free(world->io);
}

/* All that another thread could hold while it takes or gives back memory. */
static void pool_lock(struct pool *pool)
{
	unsigned i;

	for (i = 0; i < pool->stock_count; i++)
		pthread_mutex_lock(&pool->stock[i].lock);
	pthread_mutex_lock(&pool->lock);
}

static void pool_unlock(struct pool *pool)
{
	unsigned i;

	pthread_mutex_unlock(&pool->lock);
	for (i = 0; i < pool->stock_count; i++)
		pthread_mutex_unlock(&pool->stock[i].lock);
}

static bool is_mapped(const void *page)
{
	bool mapped;
	int fd[2];

	if (pipe(fd))
		return true;
	mapped = write(fd[1], page, 1) == 1 || errno != EFAULT;
	close(fd[0]);
	close(fd[1]);
	return mapped;
}

static void child(struct world *world)
{
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = 64 * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.io = &io_fault_ops};
	struct folio_cache *cache[CACHES_MAX], *more = NULL;
	struct folio_file *file[CACHES_MAX];
	struct io_fault *io[CACHES_MAX];
	char buf[64];
	int i = 0;

	alarm(60);
	EXPECT(!is_mapped(folio_data(world->dropped[0])));
	EXPECT(!is_mapped(folio_data(world->own[0])));
	EXPECT(folio_index(world->cached) == 5);
	put_some(world, 0);
	for (i = 0; i < CACHES_MAX; i++) {
		io[i] = io_fault_new(1, 0);
		io_fault_add(io[i], "a", 100 * PAGE);
		params.io_context = io[i];
		EXPECT(folio_cache_open(&params, &cache[i]) == 0);
		EXPECT(folio_file_open(cache[i], "a", O_RDONLY, 0, &file[i]) == 0);
		EXPECT(folio_file_read(file[i], buf, sizeof(buf), 0) == sizeof(buf));
	}
	params.io = NULL;
	params.io_context = NULL;
	EXPECT(folio_cache_open(&params, &more) == -EMFILE);
	/* Some cache of the child's has by now the number that is in the descriptors. */
	put_some(world, 1);
	folio_put(world->cached);
	EXPECT(folio_u32_load_relaxed(&world->released) == 0);
	for (i = 0; i < CACHES_MAX; i++) {
		EXPECT(folio_file_close(file[i]) == 0);
		EXPECT(folio_cache_close(cache[i]) == 0);
		io_fault_free(io[i]);
	}
	_exit(0);
}

/* The child found nothing wrong. */
static void expect_good(pid_t pid)
{
	int status = 0;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_put_in_child(void **state)
{
	struct world world;
	pid_t pid;

	(void)state;
	if (!FORKS) {
		print_message("# left out: not under this sanitizer\n");
		return;
	}
	world_begin(&world);
	fflush(stdout);
	pool_lock(&world.cache->pool);
	pid = fork();
	if (pid == 0)
		child(&world);
	pool_unlock(&world.cache->pool);
	expect_good(pid);
	world_end(&world);
}

/* Forked inside of a section, as by a signal's handler: the parent goes on, the child has no cache, and can end. */
static void test_fork_inside(void **state)
{
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .io = &io_fault_ops};
	struct folio_cache *cache;
	struct world world;
	char buf[64];
	pid_t pid;

	(void)state;
	if (!FORKS) {
		print_message("# left out: not under this sanitizer\n");
		return;
	}
	world_begin(&world);
	fflush(stdout);
	grace_read_lock();
	pid = fork();
	if (pid == 0) {
		alarm(60);
		if (folio_file_read(world.file, buf, sizeof(buf), 0) != -ESTALE)
			_exit(1);
		params.io_context = world.io;
		_exit(folio_cache_open(&params, &cache) == -ESTALE ? 0 : 2);
	}
	grace_read_unlock();
	expect_good(pid);
	grace_barrier();
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_in_child),
		cmocka_unit_test(test_fork_inside),
	};

	test_begin("fork");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
