/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading in place: which pages a peek finds, what ends it, and visits. */
static void peek_paused(void);
#define FOLIO_PEEK_PAUSE() peek_paused()

#include <sys/wait.h>
#include <unistd.h>

#include "evict-world.h"

/* A peek is held up at its n-th pause, and this is done in the meantime. */
static struct {
	unsigned countdown;
	void (*act)(void);
	struct world *world;
	struct folio_file *other;
} held;

static void peek_paused(void)
{
	if (held.countdown && !--held.countdown)
		held.act();
}

static const struct folio_view *view_of(struct world *world)
{
	const struct folio_view *view = NULL;

	assert_int_equal(folio_file_view(world->file, FOLIO_VIEW_LAYOUT, &view), 0);
	assert_non_null(view);
	return view;
}

/* Until eviction need not hear of them any longer. */
static void heat_up(struct world *world, uint64_t first, uint64_t count)
{
	touch_all(world, first, count, 3);
}

static bool is_page(struct world *world, const void *page, uint64_t index)
{
	return io_fault_check(world->contents, index * PAGE, page, PAGE, NULL, NULL);
}

static void test_arguments(void **state)
{
	const struct folio_view *view;
	struct world world;

	(void)state;
	evict_world_begin(&world, 64);
	assert_int_equal(folio_file_view(NULL, FOLIO_VIEW_LAYOUT, &view), -EINVAL);
	assert_int_equal(folio_file_view(world.file, FOLIO_VIEW_LAYOUT, NULL), -EINVAL);
	assert_int_equal(folio_file_view(world.file, FOLIO_VIEW_LAYOUT + 1, &view), -ENOTSUP);
	assert_int_equal(folio_file_view(world.file, 0, &view), -ENOTSUP);
	/* A kernel that does not clear the versions in a child. */
	world.cache->pool.version_wiped = false;
	assert_int_equal(folio_file_view(world.file, FOLIO_VIEW_LAYOUT, &view), -ENOTSUP);
	world.cache->pool.version_wiped = true;
	world_end(&world);
}

/* A page is found once it is hot, in a folio of any order, and nothing is counted. */
static void test_found(void **state)
{
	const struct folio_view *view;
	struct folio_peek peek = {NULL, 0};
	struct world world;
	unsigned order;
	uint64_t i;

	(void)state;
	evict_world_begin(&world, 8192);
	view = view_of(&world);
	assert_null(folio_peek(view, 0, &peek));
	assert_null(folio_peek(view, UINT64_MAX, &peek));
	for (order = 0; order <= 8; order++) {
		uint64_t n = UINT64_C(1) << order, hits;

		expect_read(&world, n * PAGE, n * PAGE, 1);
		assert_null(folio_peek(view, n, &peek));
		heat_up(&world, n, n);
		hits = cache_stats(world.cache).hits;
		for (i = n; i < 2 * n; i++) {
			const void *page = folio_peek(view, i, &peek);

			assert_non_null(page);
			assert_true(is_page(&world, page, i));
			assert_true(folio_peek_valid(&peek));
		}
		assert_null(folio_peek(view, 2 * n, &peek));
		assert_int_equal(cache_stats(world.cache).hits, hits);
	}
	world_end(&world);
}

/* The last page of a file, if the file ends in it, is read by calls. */
static void test_part_of_a_page(void **state)
{
	struct folio_peek peek = {NULL, 0};
	struct world world;
	unsigned i;
	char byte;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, PAGE + 1);
	for (i = 0; i < 5; i++) {
		assert_int_equal(folio_file_read(world.file, &byte, 1, PAGE), 1);
		assert_int_equal(folio_file_read(world.file, &byte, 1, 0), 1);
	}
	assert_non_null(folio_peek(view_of(&world), 0, &peek));
	assert_null(folio_peek(view_of(&world), 1, &peek));
	assert_null(folio_peek(view_of(&world), 2, &peek));
	world_end(&world);
}

/* A page that leaves the file, or its frame for another page, ends a peek; so does a change. */
static void test_ended(void **state)
{
	const struct folio_view *view;
	struct folio_peek peek = {NULL, 0};
	struct world world;
	struct folio *folio;
	uint64_t i;

	(void)state;
	evict_world_begin(&world, 64);
	view = view_of(&world);
	heat_up(&world, 5, 1);
	assert_non_null(folio_peek(view, 5, &peek));
	/* What happens to other pages does not. */
	touch_all(&world, 6, 10, 1);
	assert_true(folio_peek_valid(&peek));
	assert_int_equal(folio_file_invalidate(world.file, 6 * PAGE, 10 * PAGE), 0);
	assert_true(folio_peek_valid(&peek));
	assert_int_equal(folio_file_get(world.file, 5, 0, &folio), 0);
	assert_true(folio_peek_valid(&peek));
	/* It may be locked to be changed. */
	assert_int_equal(folio_lock(folio), 0);
	assert_false(folio_peek_valid(&peek));
	assert_null(folio_peek(view, 5, &peek));
	assert_int_equal(folio_unlock(folio), 0);
	assert_non_null(folio_peek(view, 5, &peek));
	assert_true(folio_peek_valid(&peek));
	folio_put(folio);
	assert_int_equal(folio_file_invalidate(world.file, 0, UINT64_MAX), 0);
	assert_null(folio_peek(view, 5, &peek));
	heat_up(&world, 5, 1);
	assert_non_null(folio_peek(view, 5, &peek));
	for (i = 1000; page_cached(world.file, 5); i++)
		touch_all(&world, i, 1, 4);
	assert_false(folio_peek_valid(&peek));
	/* In its slot is what eviction knows of it. */
	assert_null(folio_peek(view, 5, &peek));
	world_end(&world);
}

static void first_byte(const void *page, void *context)
{
	const unsigned char *bytes = page;

	*(int *)context = FOLIO_PEEK_LOAD(&bytes[0]);
}

/* A visit sees the page whether it is cached or not; past the end there is none. */
static void test_visit(void **state)
{
	struct world world;
	unsigned char byte;
	unsigned i;
	int seen;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 3 * PAGE + 1);
	for (i = 0; i < 6; i++) {
		const struct folio_view *view = i % 2 ? view_of(&world) : NULL;
		uint64_t index = i % 4;

		assert_int_equal(folio_file_read(world.file, &byte, 1, index * PAGE), 1);
		seen = -1;
		assert_int_equal(folio_peek_visit(world.file, view, index, first_byte, &seen), 0);
		assert_int_equal(seen, byte);
		seen = -1;
		assert_int_equal(
			folio_peek_visit(world.file, view, 4, first_byte, &seen), -ENODATA);
		assert_int_equal(folio_peek_visit(world.file, view, UINT64_MAX, first_byte, &seen),
			-ENODATA);
		assert_int_equal(seen, -1);
	}
	assert_int_equal(folio_file_visit(NULL, 0, first_byte, &seen), -EINVAL);
	assert_int_equal(folio_file_visit(world.file, 0, NULL, &seen), -EINVAL);
	world_end(&world);
}

/* The page leaves; another page of the same node gets its frame. */
static void reuse_frame(void)
{
	assert_int_equal(folio_file_invalidate(held.world->file, 5 * PAGE, PAGE), 0);
	heat_up(held.world, 6, 1);
}

/* All pages leave; another file gets the node and the frame, for a page with the same slot. */
static void reuse_node(void)
{
	char buf[64];
	unsigned i;

	assert_int_equal(folio_file_invalidate(held.world->file, 0, UINT64_MAX), 0);
	for (i = 0; i < 4; i++)
		assert_int_equal(
			folio_file_read(held.other, buf, sizeof(buf), 5 * PAGE + 40), sizeof(buf));
}

/* A peek that is held up anywhere finds the page, or nothing, or is not valid. */
static void test_held_up(void **state)
{
	void (*const acts[])(void) = {reuse_frame, reuse_node};
	struct folio_peek peek = {NULL, 0};
	struct world world;
	unsigned a, at;

	(void)state;
	for (a = 0; a < 2; a++) {
		bool done = true;

		for (at = 1; done; at++) {
			const void *page;

			evict_world_begin(&world, 64);
			io_fault_add(world.io, "b", FILE_PAGES * PAGE);
			held.world = &world;
			held.other = file_open(world.cache, "b");
			held.act = acts[a];
			heat_up(&world, 5, 1);
			heat_up(&world, 7, 1);
			held.countdown = at;
			page = folio_peek(view_of(&world), 5, &peek);
			done = held.countdown == 0;
			held.countdown = 0;
			if (page && folio_peek_valid(&peek))
				assert_true(is_page(&world, page, 5) && page_cached(world.file, 5));
			assert_true(done == !page);
			assert_int_equal(folio_file_close(held.other), 0);
			world_end(&world);
		}
		/* Before the loads of the directory's slot, the leaf's, the version, the slot. */
		assert_int_equal(at, 6);
	}
}

struct changing {
	struct folio *folio;
	unsigned calls, changes; /* how often the page still changes during a call */
};

static void change_page(const void *page, void *context)
{
	struct changing *changing = context;

	(void)page;
	changing->calls++;
	if (!changing->changes)
		return;
	changing->changes--;
	assert_int_equal(folio_lock(changing->folio), 0);
	assert_int_equal(folio_unlock(changing->folio), 0);
}

/* A visit during which the page changes is made again, and on a copy after some times. */
static void test_visit_again(void **state)
{
	struct changing changing;
	struct world world;
	unsigned changes;

	(void)state;
	evict_world_begin(&world, 64);
	heat_up(&world, 5, 1);
	assert_int_equal(folio_file_get(world.file, 5, 0, &changing.folio), 0);
	for (changes = 0; changes <= FOLIO_PEEK_TRIES; changes++) {
		changing.calls = 0;
		changing.changes = changes;
		assert_int_equal(
			folio_peek_visit(world.file, view_of(&world), 5, change_page, &changing),
			0);
		assert_int_equal(changing.calls, changes + 1);
	}
	folio_put(changing.folio);
	world_end(&world);
}

static void bytes_set(const void *page, void *context)
{
	const unsigned char *bytes = page;
	unsigned i;

	*(unsigned *)context = 0;
	for (i = 1; i < PAGE; i++)
		*(unsigned *)context += FOLIO_PEEK_LOAD(&bytes[i]) != 0;
}

/* Past the end of the file a visit sees zeros, and not what the visit before had there. */
static void test_visit_of_the_end(void **state)
{
	struct world world;
	unsigned set = 1;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, 3 * PAGE + 1);
	assert_int_equal(folio_file_visit(world.file, 2, bytes_set, &set), 0);
	assert_true(set > 0);
	assert_int_equal(folio_file_visit(world.file, 3, bytes_set, &set), 0);
	assert_int_equal(set, 0);
	world_end(&world);
}

/* The last page that a file can have ends before the end of its folio, at INT64_MAX. */
static void test_visit_of_the_largest_file(void **state)
{
	const uint64_t last = INT64_MAX >> FOLIO_PAGE_SHIFT;
	struct world world;
	char buf[16];
	int seen = -1;

	(void)state;
	world_begin(&world, 64, FOLIO_CACHE_NO_READAHEAD, INT64_MAX);
	assert_int_equal(folio_file_read(world.file, buf, 1, INT64_MAX - 1), 1);
	assert_int_equal(folio_file_visit(world.file, last, first_byte, &seen), 0);
	assert_int_equal(folio_file_read(world.file, buf, 1, last * PAGE), 1);
	assert_int_equal(seen, (unsigned char)buf[0]);
	assert_int_equal(folio_file_visit(world.file, last + 1, first_byte, &seen), -ENODATA);
	assert_int_equal(folio_file_visit(world.file, UINT64_MAX, first_byte, &seen), -ENODATA);
	world_end(&world);
}

/* A read that fails is a visit that fails. */
static void test_visit_error(void **state)
{
	struct world world;
	int seen = -1;

	(void)state;
	evict_world_begin(&world, 64);
	io_fault_fail(world.io, IO_FAULT_READ, 1, EIO);
	assert_int_equal(folio_file_visit(world.file, 3, first_byte, &seen), -EIO);
	assert_int_equal(seen, -1);
	world_end(&world);
}

/* In a child of fork the frames are not there: no peek leads to them. */
static void test_fork(void **state)
{
	const struct folio_view *view;
	struct folio_peek peek = {NULL, 0}, old = {NULL, 0};
	struct world world;
	int status;
	pid_t pid;

	(void)state;
	evict_world_begin(&world, 256);
	view = view_of(&world);
	heat_up(&world, 0, 200);
	assert_non_null(folio_peek(view, 100, &old));
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		uint64_t i, found = 0;

		for (i = 0; i < 200; i++)
			found += folio_peek(view, i, &peek) != NULL;
		_exit(found || folio_peek_valid(&old) ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(folio_peek_valid(&old));
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_part_of_a_page),
		cmocka_unit_test(test_ended),
		cmocka_unit_test(test_held_up),
		cmocka_unit_test(test_visit),
		cmocka_unit_test(test_visit_again),
		cmocka_unit_test(test_visit_of_the_end),
		cmocka_unit_test(test_visit_of_the_largest_file),
		cmocka_unit_test(test_visit_error),
		cmocka_unit_test(test_fork),
	};

	test_begin("peek");
	return cmocka_run_group_tests_name("peek", tests, NULL, NULL);
}
