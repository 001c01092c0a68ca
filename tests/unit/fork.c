/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A child of fork may put the parent's pins, whatever locks other threads of the parent held, and
 * may open as many caches as the parent. The parent continues as if it had no child.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include <folio/hot.h>
#include <folio/iovec.h>
#include <folio/range.h>

#include "fault-world.h"
#include "cache/table.h"

/*
 * ASan's allocator does not lock for a fork: a lock that another thread held stays locked in the
 * child.
 */
#if defined(__SANITIZE_ADDRESS__)
#define ALLOCATOR_FORKS_BADLY true
#else
#define ALLOCATOR_FORKS_BADLY false
#endif

/*
 * TSan cannot start threads in the child of a process that had threads; the library starts one
 * there.
 */
#if defined(__SANITIZE_THREAD__)
#define FORKS false
#else
#define FORKS true
#endif

/* In the child, where cmocka cannot report a failure. */
#define EXPECT(condition)                                                  \
	do {                                                               \
		if (!(condition)) {                                        \
			fprintf(stderr, "in the child: %s\n", #condition); \
			_exit(1);                                          \
		}                                                          \
	} while (0)

static void expect_child_well(pid_t pid)
{
	int status = 0;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

struct pinned {
	struct io_fault *io;
	struct io_fault_file *contents;
	struct folio_cache *cache;
	struct folio_file *file;
	/* The last references to dropped pages, private folios and folios of another type. */
	struct folio *dropped[2], *private[2], *own[2];
	struct folio *cached; /* still in its file */
	folio_u32 released;
};

static void released(struct folio *folio, void *context)
{
	struct pinned *world = context;

	(void)folio;
	folio_u32_fetch_add_relaxed(&world->released, 1);
}

static void pinned_begin(struct pinned *world)
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

static void put_some(struct pinned *world, unsigned i)
{
	folio_put(world->dropped[i]);
	folio_put(world->private[i]);
	folio_put(world->own[i]);
}

static void pinned_end(struct pinned *world)
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

/* Takes all locks that another thread may hold while it allocates or frees memory. */
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

static void put_in_child(struct pinned *world)
{
	struct folio_cache_params params = {.size = sizeof(params),
		.bytes = 64 * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.io = &io_fault_ops};
	struct folio_cache *cache[CACHES_MAX], *more = NULL;
	struct folio_file *file[CACHES_MAX];
	struct io_fault *io[CACHES_MAX];
	const int caches = ALLOCATOR_FORKS_BADLY ? 0 : CACHES_MAX;
	char buf[64];
	int i = 0;

	alarm(60);
	EXPECT(!is_mapped(folio_data(world->dropped[0])));
	EXPECT(!is_mapped(folio_data(world->own[0])));
	/* Nor will it be: a later mapping is not given the address, even if it asks for it. */
	EXPECT(mmap(folio_data(world->own[0]), PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != folio_data(world->own[0]));
	EXPECT(!is_mapped(folio_data(world->own[0])));
	EXPECT(folio_index(world->cached) == 5);
	put_some(world, 0);
	for (i = 0; i < caches; i++) {
		io[i] = io_fault_new(1, 0);
		io_fault_add(io[i], "a", 100 * PAGE);
		params.io_context = io[i];
		EXPECT(folio_cache_open(&params, &cache[i]) == 0);
		EXPECT(folio_file_open(cache[i], "a", O_RDONLY, 0, &file[i]) == 0);
		EXPECT(folio_file_read(file[i], buf, sizeof(buf), 0) == sizeof(buf));
	}
	params.io = NULL;
	params.io_context = NULL;
	EXPECT(!caches || folio_cache_open(&params, &more) == -EMFILE);
	/* By now a cache of the child has the number that is in the descriptors. */
	put_some(world, 1);
	folio_put(world->cached);
	EXPECT(folio_u32_load_relaxed(&world->released) == 0);
	for (i = 0; i < caches; i++) {
		EXPECT(folio_file_close(file[i]) == 0);
		EXPECT(folio_cache_close(cache[i]) == 0);
		io_fault_free(io[i]);
	}
	_exit(0);
}

static void test_put_in_child(void **state)
{
	struct pinned world;
	pid_t pid;

	(void)state;
	if (!FORKS) {
		print_message("# skipped under this sanitizer\n");
		return;
	}
	pinned_begin(&world);
	fflush(stdout);
	pool_lock(&world.cache->pool);
	pid = fork();
	if (pid == 0)
		put_in_child(&world);
	pool_unlock(&world.cache->pool);
	expect_child_well(pid);
	pinned_end(&world);
}

/* ---- calls in the child ---- */

/*
 * In the child: every call on the parent's cache is refused; a new cache works, if @own demands it.
 */
static void child(struct world *world, struct folio *pinned, bool own)
{
	struct folio_type_params type_params = {.size = sizeof(type_params), .name = "x"};
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 * PAGE};
	struct folio_cache_stats stats = {.size = sizeof(stats)};
	struct folio_file_stat file_stat = {.size = sizeof(file_stat)};
	struct folio_range range = {0, PAGE};
	struct folio_read read = {.buf = &range, .len = 1};
	struct iovec iov = {.iov_base = &range, .iov_len = 1};
	struct folio_cache *cache = NULL;
	struct io_fault *io;
	struct io_fault_file *contents;
	struct folio_file *file = NULL;
	struct folio *folio;
	unsigned type, i;
	char buf[200];

	alarm(60);
	if (pinned) {
		EXPECT((folio_lock)(pinned) == -ESTALE);
		EXPECT((folio_mark_dirty)(pinned, 0) == -ESTALE);
		EXPECT((folio_unlock)(pinned) == -ESTALE);
		folio_put(pinned);
	}
	for (i = 0; i < 2; i++) {
		EXPECT(folio_file_read(world->file, buf, 64, 3 * PAGE) == -ESTALE);
		EXPECT(folio_file_read(world->file, buf, sizeof(buf), 3 * PAGE) == -ESTALE);
		EXPECT(folio_file_read_nowait(world->file, buf, 64, 3 * PAGE) == -ESTALE);
		EXPECT(folio_file_get(world->file, 3, 0, &folio) == -ESTALE);
		EXPECT(folio_file_get(world->file, 3, FOLIO_GET_NOWAIT, &folio) == -ESTALE);
		EXPECT(folio_file_prefetch(world->file, &range, 1) == -ESTALE);
		EXPECT(folio_file_read_batch(world->file, &read, 1, 0) == -ESTALE);
		EXPECT(folio_file_readv(world->file, &iov, 1, 0, 0) == -ESTALE);
		EXPECT(folio_file_writeback(world->file, 0, PAGE, 0) == -ESTALE);
		EXPECT(folio_file_advise(world->file, FOLIO_ADVICE_RANDOM) == -ESTALE);
		EXPECT(folio_file_invalidate(world->file, 0, 1) == -ESTALE);
		EXPECT(folio_file_revalidate(world->file) == -ESTALE);
		EXPECT(folio_file_set_share(world->file, 0, PAGE) == -ESTALE);
		EXPECT(folio_cache_save_hot(world->cache, "folio-hot") == -ESTALE);
		EXPECT(folio_cache_load_hot(world->cache, "folio-hot", NULL) == -ESTALE);
		EXPECT(folio_file_size(world->file) == 0);
		EXPECT(folio_file_open(world->cache, "a", O_RDONLY, 0, &file) == -ESTALE);
		EXPECT(folio_cache_stats(world->cache, &stats) == -ESTALE);
		EXPECT(folio_file_stat(world->file, &file_stat) == -ESTALE);
		EXPECT(folio_alloc(world->cache, 0, FOLIO_TYPE_PRIVATE, NULL, &folio) == -ESTALE);
		type_params.release = (void (*)(struct folio *, void *))abort;
		EXPECT(folio_type_register(world->cache, &type_params, &type) == -ESTALE);
		EXPECT(folio_cache_close(world->cache) == -ESTALE);
		if (!own)
			continue;

		/* The second time with the library's backend. */
		io = io_fault_new(1, 1);
		contents = io_fault_add(io, "a", 1000 * PAGE);
		params.io = i ? NULL : &io_fault_ops;
		params.io_context = i ? NULL : io;
		EXPECT(folio_cache_open(&params, &cache) == 0);
		if (!i) {
			unsigned n;

			EXPECT(folio_file_open(cache, "a", O_RDONLY, 0, &file) == 0);
			for (n = 0; n < 1000; n++) {
				EXPECT(folio_file_read(file, buf, 64, n * PAGE) == 64);
				EXPECT(io_fault_check(contents, n * PAGE, buf, 64, NULL, NULL));
			}
			EXPECT(folio_file_close(file) == 0);
		}
		EXPECT(folio_cache_close(cache) == 0);
		io_fault_free(io);
	}
	EXPECT(folio_file_close(world->file) == -ESTALE);
	_exit(0);
}

static void test_fork(void **state)
{
	struct folio *folio = NULL;
	struct world world;
	pid_t pid;

	(void)state;
	if (!FORKS) {
		print_message("# skipped under this sanitizer\n");
		return;
	}
	world_begin(&world, 64, 0, 100 * PAGE);
	expect_read(&world, 3 * PAGE, 64, 1);
	assert_int_equal(folio_file_get(world.file, 3, 0, &folio), 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		/* Threads of the backend may still be starting. */
		child(&world, folio, !ALLOCATOR_FORKS_BADLY);
	expect_child_well(pid);
	folio_put(folio);
	expect_read(&world, 0, 100 * PAGE, 1);
	world_end(&world);
}

static void *read_until_stopped(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	char buf[64];

	while (!folio_u32_load_relaxed(&shared->stop)) {
		uint64_t offset = random_below(&worker->random, shared->pages) * PAGE;

		failed(shared, folio_file_read(shared->world.file, buf, sizeof(buf), offset) !=
					       sizeof(buf) ||
				       !io_fault_check(shared->world.contents, offset, buf,
					       sizeof(buf), NULL, NULL));
	}
	return NULL;
}

/* Forks while other threads use the cache: the child works, whatever locks they hold. */
static void test_fork_with_threads(void **state)
{
	struct shared shared = {.pages = 300};
	struct worker worker[THREADS];
	unsigned i, n;

	(void)state;
	if (!FORKS) {
		print_message("# skipped under this sanitizer\n");
		return;
	}
	world_begin(&shared.world, 64, 0, shared.pages * PAGE);
	for (i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.shared = &shared, .random = test_seed + i};
		assert_int_equal(
			pthread_create(&worker[i].thread, NULL, read_until_stopped, &worker[i]), 0);
	}
	fflush(stdout);
	for (n = scaled(16); n-- > 0;) {
		pid_t pid = fork();

		if (pid == 0)
			child(&shared.world, NULL, !ALLOCATOR_FORKS_BADLY);
		expect_child_well(pid);
	}
	folio_u32_store_relaxed(&shared.stop, 1);
	for (i = 0; i < THREADS; i++)
		pthread_join(worker[i].thread, NULL);
	assert_int_equal(folio_u32_load_relaxed(&shared.failures), 0);
	world_end(&shared.world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_in_child),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_fork_with_threads),
	};

	test_begin("fork");
	return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
