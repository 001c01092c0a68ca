/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks, condition variables and threads: each is set up once before its use and destroyed once
 * after it. On Linux a destroy that is left out, or one too many, has no effect that another test
 * could see. The functions of libc are replaced by some that record each call.
 */
#include <dlfcn.h>

#include "write-world.h"
#include "io/file.h"

#define REAL(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

/* ---- what exists ---- */

enum { OBJECTS_MAX = 4096 };

static struct {
	folio_u32 lock; /* a spinlock: the functions of libc are the subject */
	const void *object[OBJECTS_MAX];
	unsigned count, made;
	unsigned wrong; /* set up twice, or destroyed without being set up */
	folio_u32 threads;
} exists;

static void exists_lock(void)
{
	uint32_t free = 0;

	while (!folio_u32_cas_acquire(&exists.lock, &free, 1)) {
		free = 0;
		sched_yield();
	}
}

static void change(const void *object, bool made)
{
	unsigned i;

	exists_lock();
	for (i = 0; i < exists.count && exists.object[i] != object; i++)
		continue;
	if (made ? i < exists.count || i == OBJECTS_MAX : i == exists.count) {
		exists.wrong++;
	} else if (made) {
		exists.object[exists.count++] = object;
		exists.made++;
	} else {
		exists.object[i] = exists.object[--exists.count];
	}
	folio_u32_store_release(&exists.lock, 0);
}

int pthread_mutex_init(pthread_mutex_t *lock, const pthread_mutexattr_t *attr)
{
	change(lock, true);
	return REAL(pthread_mutex_init, lock, attr);
}

int pthread_mutex_destroy(pthread_mutex_t *lock)
{
	change(lock, false);
	return REAL(pthread_mutex_destroy, lock);
}

int pthread_rwlock_init(pthread_rwlock_t *lock, const pthread_rwlockattr_t *attr)
{
	change(lock, true);
	return REAL(pthread_rwlock_init, lock, attr);
}

int pthread_rwlock_destroy(pthread_rwlock_t *lock)
{
	change(lock, false);
	return REAL(pthread_rwlock_destroy, lock);
}

int pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attr)
{
	change(condition, true);
	return REAL(pthread_cond_init, condition, attr);
}

int pthread_cond_destroy(pthread_cond_t *condition)
{
	change(condition, false);
	return REAL(pthread_cond_destroy, condition);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	int error = REAL(pthread_create, thread, attr, run, arg);

	if (!error)
		folio_u32_fetch_add_relaxed(&exists.threads, 1);
	return error;
}

int pthread_join(pthread_t thread, void **result)
{
	folio_u32_fetch_sub_relaxed(&exists.threads, 1);
	return REAL(pthread_join, thread, result);
}

static void expect_nothing(void)
{
	assert_int_equal(exists.wrong, 0);
	assert_int_equal(exists.count, 0);
	assert_int_equal(folio_u32_load_relaxed(&exists.threads), 0);
	assert_true(exists.made > 0);
	exists.made = 0;
}

/* ---- tests ---- */

static void release(struct folio *folio, void *context)
{
	(void)folio;
	(void)context;
}

/* Most of what a cache can do, with files that are closed and opened again. */
static void use(struct world *world)
{
	struct folio_type_params type = {.size = sizeof(type), .name = "own", .release = release};
	struct folio_file *file[3];
	char path[2][sizeof(world->path)];
	struct folio *folio;
	unsigned i, round, own;

	for (i = 0; i < 2; i++) {
		snprintf(path[i], sizeof(path[i]), "folio-write-XXXXXX");
		close(mkstemp(path[i]));
	}
	assert_int_equal(folio_type_register(world->cache, &type, &own), 0);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < 3; i++) {
			assert_int_equal(
				folio_file_open(world->cache, path[i % 2], O_RDWR, 0, &file[i]), 0);
			assert_int_equal(folio_file_write(file[i], "x", 1, i * PAGE), 1);
		}
		assert_int_equal(folio_file_sync(file[0], NULL, 0), 0);
		assert_int_equal(folio_file_truncate(file[0], 100), 0);
		assert_int_equal(folio_file_get(file[1], 1, 0, &folio), 0);
		folio_put(folio);
		assert_int_equal(folio_alloc(world->cache, 0, own, NULL, &folio), 0);
		folio_put(folio);
		for (i = 0; i < 3; i++)
			assert_int_equal(folio_file_close(file[i]), 0);
		assert_int_equal(folio_cache_resize(world->cache, (126 + round) * PAGE), 0);
	}
	for (i = 0; i < 2; i++)
		unlink(path[i]);
}

static void test_cache(void **state)
{
	static struct world world;

	(void)state;
	world_begin(&world, 128, 0);
	use(&world);
	world_end(&world);
	expect_nothing();
}

static folio_u32 done;

static void mark_done(struct folio_io_request *request, ssize_t result)
{
	(void)request;
	folio_u32_store_release(&done, result == 0);
}

/* The backends, with requests for their own threads and for those that stand in for the ring. */
static void test_backends(void **state)
{
	static const struct folio_io_ops *const all[] = {&folio_io_threads, &folio_io_uring};
	static _Alignas(FOLIO_PAGE_SIZE) char page[FOLIO_PAGE_SIZE];
	char path[] = "folio-balance-XXXXXX";
	void *context, *handle;
	unsigned i, blocks;

	(void)state;
	close(mkstemp(path));
	for (i = 0; i < 2; i++) {
		if (all[i]->create(&context, 4))
			continue;
		all[i]->destroy(context);
		for (blocks = 0; blocks < 2; blocks++) {
			struct folio_io_request request, *requests = &request;
			struct iovec iov = {page, PAGE};

			request = (struct folio_io_request){
				.iov = &iov, .iov_count = 1, .complete = mark_done};
			folio_u32_store_relaxed(&done, 0);
			assert_int_equal(all[i]->create(&context, 4), 0);
			assert_int_equal(all[i]->open(context, path, O_RDONLY, 0, 0, &handle), 0);
			((struct io_file *)handle)->blocks = blocks;
			request.handle = handle;
			all[i]->submit(context, &requests, 1);
			wait_until(folio_u32_load_acquire(&done));
			all[i]->close(context, handle);
			all[i]->destroy(context);
		}
		expect_nothing();
	}
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_backends),
	};

	test_begin("balance");
	return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
