/* SPDX-License-Identifier: BSD-2-Clause */
/* Appends: a model; what an append excludes; many threads; errors. */
#include <sys/resource.h>

#include <folio/iovec.h>

#include "asleep.h"
#include "user-memory.h"
#include "write-world.h"
#include "cache/call.h"
#include "write/truncate.h"

#define THREADS 4

static void test_model(void **state)
{
	static char buf[20 * FOLIO_PAGE_SIZE];
	static struct world world;
	uint64_t random = test_seed, offset;
	unsigned i, steps = scaled(2000);

	(void)state;
	world_begin(&world, 64, 16);
	for (i = 0; i < steps; i++) {
		uint64_t most = random_below(&random, 2) ? 100 : sizeof(buf);
		size_t len = random_below(&random, most);

		if (len > MODEL_BYTES - world.size)
			len = MODEL_BYTES - world.size;
		switch (random_below(&random, 8)) {
		case 0:
			world.size = random_below(&random, MODEL_BYTES);
			memset(world.model + world.size, 0, MODEL_BYTES - world.size);
			assert_int_equal(folio_file_truncate(world.file, world.size), 0);
			break;
		case 1:
			assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
			assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
			check_file(&world);
			break;
		default:
			memset(buf, (int)random_below(&random, 256), len);
			offset = 77;
			assert_int_equal(folio_file_append(world.file, buf, len, FOLIO_WRITE_ONCE,
						 i % 2 ? &offset : NULL),
				len);
			assert_int_equal(offset, i % 2 ? world.size : 77);
			memcpy(world.model + world.size, buf, len);
			world.size += len;
		}
		assert_int_equal(folio_file_size(world.file), world.size);
	}
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

static void test_arguments(void **state)
{
	static struct world world;
	struct folio_file *reader;
	struct folio *folio;
	struct rlimit limit, low;
	uint64_t offset = 77;
	char byte = 'x';

	(void)state;
	world_begin(&world, 64, 0);
	reader = file_open(world.cache, world.path);
	assert_int_equal(folio_file_append(reader, &byte, 1, 0, &offset), -EBADF);
	assert_int_equal(folio_file_close(reader), 0);
	assert_int_equal(folio_file_append(NULL, &byte, 1, 0, &offset), -EINVAL);
	assert_int_equal(folio_file_append(world.file, NULL, 1, 0, &offset), -EINVAL);
	assert_int_equal(folio_file_append(world.file, &byte, SIZE_MAX, 0, &offset), -EINVAL);
	assert_int_equal(folio_file_append(world.file, &byte, 1, 2, &offset), -EINVAL);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	/* No machine has so much memory. A sanitizer would end the program. */
	assert_int_equal(folio_file_append(world.file, &byte, INT64_MAX, 0, &offset), -ENOMEM);
#endif
	assert_int_equal(offset, 77);
	assert_int_equal(folio_file_append(world.file, &byte, 1, 0, &offset), 1);
	assert_int_equal(offset, 0);
	assert_int_equal(folio_file_append(world.file, NULL, 0, 0, &offset), 0);
	assert_int_equal(offset, 1);
	assert_int_equal(folio_file_get(world.file, 0, 0, &folio), 0);
	assert_int_equal(folio_lock(folio), 0);
	assert_int_equal(folio_file_append(world.file, &byte, 1, 0, &offset), -EDEADLK);
	assert_int_equal(folio_unlock(folio), 0);
	folio_put(folio);
	/* At the limit of the file: what fits, and then the error. */
	assert_int_equal(folio_file_truncate(world.file, 100 * PAGE - 3), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	low = (struct rlimit){.rlim_cur = 100 * PAGE, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	assert_int_equal(folio_file_append(world.file, "abcde", 5, 0, &offset), 3);
	assert_int_equal(offset, 100 * PAGE - 3);
	offset = 77;
	assert_int_equal(folio_file_append(world.file, "abcde", 5, 0, &offset), -EFBIG);
	assert_int_equal(offset, 77);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	/* No file is longer than 2^63 - 1 bytes, whatever the backend says. */
	folio_u64_store_relaxed(&world.file->inode->writable_to, UINT64_MAX);
	folio_u64_store_relaxed(&world.file->inode->size, INT64_MAX - 4);
	assert_int_equal(folio_file_append(world.file, "abcde", 5, 0, &offset), -EFBIG);
	folio_u64_store_relaxed(&world.file->inode->size, 100 * PAGE);
	folio_u64_store_relaxed(&world.file->inode->writable_to, 0);
	/* By the advice of the handle, the pages leave the hot set unchanged. */
	assert_int_equal(folio_file_advise(world.file, FOLIO_ADVICE_ONCE), 0);
	assert_int_equal(folio_file_append(world.file, "abcde", 5, 0, &offset), 5);
	folio = entry_folio(tree_load(&world.file->inode->tree, 100));
	assert_int_equal(folio->refault, REFAULT_ONCE);
	world_end(&world);
}

/* ---- what an append excludes ---- */

static struct {
	struct world *world;
	unsigned what;
	folio_u32 done;
} other;

enum { APPEND, WRITE_PAST_END, TRUNCATE, DISCARD, WRITE_INSIDE, WHATS };

static void *do_other(void *arg)
{
	struct folio_file *file = other.world->file;
	uint64_t size = folio_file_size(file);

	(void)arg;
	switch (other.what) {
	case APPEND:
		assert_int_equal(folio_file_append(file, "b", 1, 0, NULL), 1);
		break;
	case WRITE_PAST_END:
		assert_int_equal(folio_file_write(file, "b", 1, size), 1);
		break;
	case TRUNCATE:
		assert_int_equal(folio_file_truncate(file, 0), 0);
		break;
	case DISCARD:
		assert_int_equal(folio_file_discard(file, 0, UINT64_MAX), 0);
		break;
	case WRITE_INSIDE:
		assert_int_equal(folio_file_write(file, "b", 1, size - 1), 1);
	}
	folio_u32_store_release(&other.done, 1);
	return NULL;
}

/* While an append is in progress, for which the test stands, no other call changes the size. */
static void test_excludes(void **state)
{
	static struct world world;
	pthread_mutex_t *lock;
	pthread_t thread;

	(void)state;
	world_begin(&world, 64, 0);
	other.world = &world;
	lock = &world.file->inode->append_lock;
	for (other.what = 0; other.what < WHATS; other.what++) {
		uint64_t size = 10 * PAGE + 5;

		assert_int_equal(folio_file_truncate(world.file, size), 0);
		folio_u32_store_relaxed(&other.done, 0);
		pthread_mutex_lock(lock);
		assert_int_equal(pthread_create(&thread, NULL, do_other, NULL), 0);
		wait_until(asleep(lock) == 1 || folio_u32_load_acquire(&other.done));
		assert_int_equal(folio_u32_load_relaxed(&other.done), other.what == WRITE_INSIDE);
		assert_int_equal(folio_file_size(world.file), size);
		pthread_mutex_unlock(lock);
		pthread_join(thread, NULL);
	}
	world_end(&world);
}

/* As a truncation that is in progress: the caller has the locks. */
static void resize_locked(struct folio_file *file, uint64_t size)
{
	struct call call = {
		.cache = file->cache, .shard = thread_enter(file->cache, file->cache_id)};

	assert_int_equal(truncate_locked(&call, file, size), 0);
}

/* The offset of an append is where the file ends when its turn comes, not when it was called. */
static void test_offset_in_turn(void **state)
{
	static struct world world;
	struct inode *inode;
	pthread_t thread;

	(void)state;
	world_begin(&world, 64, 0);
	inode = world.file->inode;
	other.world = &world;
	other.what = APPEND;
	folio_u32_store_relaxed(&other.done, 0);
	pthread_mutex_lock(&inode->append_lock);
	assert_int_equal(pthread_create(&thread, NULL, do_other, NULL), 0);
	wait_until(asleep(&inode->append_lock) == 1);
	pthread_rwlock_wrlock(&inode->map_lock);
	resize_locked(world.file, 3 * PAGE);
	pthread_rwlock_unlock(&inode->map_lock);
	pthread_mutex_unlock(&inode->append_lock);
	pthread_join(thread, NULL);
	assert_int_equal(folio_file_size(world.file), 3 * PAGE + 1);
	world_end(&world);
}

/* A write inside the file that becomes one past the end, as the file is truncated, takes turns. */
static void test_truncated_before_write(void **state)
{
	static struct world world;
	struct inode *inode;
	pthread_t thread;

	(void)state;
	world_begin(&world, 64, 0);
	inode = world.file->inode;
	assert_int_equal(folio_file_truncate(world.file, 3 * PAGE), 0);
	other.world = &world;
	other.what = WRITE_INSIDE;
	folio_u32_store_relaxed(&other.done, 0);
	pthread_mutex_lock(&inode->append_lock);
	pthread_rwlock_wrlock(&inode->map_lock);
	assert_int_equal(pthread_create(&thread, NULL, do_other, NULL), 0);
	wait_until(asleep(&inode->map_lock.__data.__wrphase_futex) == 1);
	resize_locked(world.file, 5);
	pthread_rwlock_unlock(&inode->map_lock);
	wait_until(asleep(&inode->append_lock) == 1 || folio_u32_load_acquire(&other.done));
	assert_int_equal(folio_u32_load_relaxed(&other.done), 0);
	assert_int_equal(folio_file_size(world.file), 5);
	pthread_mutex_unlock(&inode->append_lock);
	pthread_join(thread, NULL);
	assert_int_equal(folio_file_size(world.file), 3 * PAGE);
	world_end(&world);
}

static struct world *watched;
static unsigned reads_seen, reads_locked;

static ssize_t watching_read(
	void *context, void *handle, const struct iovec *iov, unsigned count, uint64_t offset)
{
	if (watched) {
		reads_seen++;
		if (pthread_mutex_trylock(&watched->file->inode->append_lock))
			reads_locked++;
		else
			pthread_mutex_unlock(&watched->file->inode->append_lock);
	}
	return folio_io_threads.read(context, handle, iov, count, offset);
}

/* An append has the lock while it works: here while it reads the last page, which it extends. */
static void test_holds(void **state)
{
	static struct folio_io_ops ops;
	struct folio_cache_params params = {.size = sizeof(params), .bytes = 64 * PAGE, .io = &ops};
	static struct world world;
	uint64_t offset;

	(void)state;
	ops = folio_io_threads;
	ops.read = watching_read;
	world_begin(&world, 64, 0);
	assert_int_equal(folio_file_append(world.file, "abc", 3, 0, &offset), 3);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_cache_close(world.cache), 0);
	world_open(&world, &params);
	reads_seen = reads_locked = 0;
	watched = &world;
	assert_int_equal(folio_file_append(world.file, "def", 3, 0, &offset), 3);
	watched = NULL;
	assert_int_equal(offset, 3);
	assert_int_equal(reads_seen, 1);
	assert_int_equal(reads_locked, 1);
	memcpy(world.model, "abcdef", 6);
	world.size = 6;
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

/* ---- many threads ---- */

struct appender {
	struct world *world;
	pthread_t thread;
	char value;
	unsigned count;
	uint64_t offset[64];
	size_t len[64];
};

static void *append_all(void *arg)
{
	static _Thread_local char buf[2 * FOLIO_PAGE_SIZE];
	struct appender *appender = arg;
	uint64_t random = test_seed + (uint64_t)appender->value;
	unsigned i;

	memset(buf, appender->value, sizeof(buf));
	for (i = 0; i < appender->count; i++) {
		appender->len[i] = 1 + random_below(&random, i % 8 ? 100 : sizeof(buf));
		assert_int_equal(folio_file_append(appender->world->file, buf, appender->len[i], 0,
					 &appender->offset[i]),
			appender->len[i]);
	}
	return NULL;
}

/* The file is what the threads have appended, each piece at its offset, and no byte else. */
static void test_many_threads(void **state)
{
	static struct appender appender[THREADS];
	static struct world world;
	unsigned i, j;

	(void)state;
	world_begin(&world, 128, 0);
	for (i = 0; i < THREADS; i++) {
		appender[i] =
			(struct appender){.world = &world, .value = (char)('a' + i), .count = 48};
		assert_int_equal(
			pthread_create(&appender[i].thread, NULL, append_all, &appender[i]), 0);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(appender[i].thread, NULL);
	for (i = 0; i < THREADS; i++) {
		for (j = 0; j < appender[i].count; j++) {
			memset(world.model + appender[i].offset[j], appender[i].value,
				appender[i].len[j]);
			world.size += appender[i].len[j];
		}
	}
	assert_int_equal(folio_file_size(world.file), world.size);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	world_end(&world);
}

static void serve_by_append(struct user_memory *memory, size_t page, char to[FOLIO_PAGE_SIZE])
{
	struct world *world = memory->context;

	/* Another program's thread would fail here, too; the test finds fewer bytes. */
	if (folio_file_append(world->file, "s", 1, 0, NULL) == 1)
		world->model[world->size++] = 's';
	memset(to, 'a' + (int)page, PAGE);
}

/* The page faults of the source are served by a thread that appends to the file itself. */
static void test_user_memory(void **state)
{
	struct user_memory memory = {.pages = 8, .serve = serve_by_append};
	static struct world world;
	struct iovec iov[2];
	uint64_t offset;
	size_t len = 3 * PAGE + 5;

	(void)state;
	memory.context = &world;
	world_begin(&world, 64, 0);
	if (!user_memory_begin(&memory)) {
		world_end(&world);
		return;
	}
	assert_int_equal(folio_file_append(world.file, memory.bytes, len, 0, &offset), len);
	wait_until(user_memory_served(&memory) == 4);
	assert_int_equal(offset, 4);
	memcpy(world.model + world.size, memory.bytes, len);
	world.size += len;
	/* Two buffers, over what is there. */
	user_memory_forget(&memory);
	iov[0] = (struct iovec){memory.bytes, PAGE};
	iov[1] = (struct iovec){memory.bytes + 2 * PAGE, PAGE + 1};
	assert_int_equal(folio_file_writev(world.file, iov, 2, 100, 0), 2 * PAGE + 1);
	wait_until(user_memory_served(&memory) == 7);
	memcpy(world.model + 100, memory.bytes, PAGE);
	memcpy(world.model + 100 + PAGE, memory.bytes + 2 * PAGE, PAGE + 1);
	assert_int_equal(folio_file_size(world.file), world.size);
	assert_int_equal(folio_file_sync(world.file, NULL, 0), 0);
	check_file(&world);
	user_memory_end(&memory);
	world_end(&world);
}

/* Another append that takes too long: the call leaves, and has written nothing. */
static void test_deadline(void **state)
{
	struct folio_cache_params params = {
		.size = sizeof(params), .bytes = 64 * PAGE, .timeout_ms = 20};
	static struct world world;
	pthread_mutex_t *lock;

	(void)state;
	world_begin(&world, 64, 0);
	assert_int_equal(folio_file_close(world.file), 0);
	assert_int_equal(folio_cache_close(world.cache), 0);
	world_open(&world, &params);
	lock = &world.file->inode->append_lock;
	pthread_mutex_lock(lock);
	assert_int_equal(folio_file_append(world.file, "a", 1, 0, NULL), -ETIMEDOUT);
	assert_int_equal(folio_file_write(world.file, "a", 1, 5), -ETIMEDOUT);
	pthread_mutex_unlock(lock);
	assert_int_equal(folio_file_size(world.file), 0);
	while (folio_file_close(world.file) == -ETIMEDOUT)
		continue;
	assert_int_equal(folio_cache_close(world.cache), 0);
	unlink(world.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_excludes),
		cmocka_unit_test(test_offset_in_turn),
		cmocka_unit_test(test_truncated_before_write),
		cmocka_unit_test(test_holds),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_user_memory),
		cmocka_unit_test(test_deadline),
	};

	test_begin("append");
	return cmocka_run_group_tests_name("append", tests, NULL, NULL);
}
