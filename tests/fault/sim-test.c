/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests the simulator, on which other tests rely: the same seed gives the same behaviour; synced
 * data survives a power cut, and unsynced data survives as documented; failures occur when
 * requested; violations of the backend's contract are detected.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <folio/folio.h>

#include "sim.h"

#define PAGE  ((uint64_t)FOLIO_PAGE_SIZE)
#define PAGES 16

/* A device with one file, open for writing, and a buffer for reads and writes. */
struct world {
	struct sim *sim;
	struct sim_file *file;
	void *context, *handle;
	unsigned char *memory;
};

static struct world open_world(uint64_t seed, enum sim_mode mode, uint64_t size)
{
	struct world w = {.sim = sim_new(seed, mode)};

	w.file = sim_add(w.sim, "a", NULL, size);
	w.context = w.sim;
	w.memory = aligned_alloc(PAGE, PAGES * PAGE);
	assert_non_null(w.memory);
	memset(w.memory, 0, PAGES * PAGE);
	assert_int_equal(sim_ops.create(&w.context, 32), 0);
	assert_int_equal(sim_ops.open(w.context, "a", O_RDWR, 0, 0, &w.handle), 0);
	return w;
}

static void close_world(struct world *w)
{
	sim_ops.close(w->context, w->handle);
	sim_ops.destroy(w->context);
	sim_free(w->sim);
	free(w->memory);
}

/* A request whose result the test waits for. */
struct flight {
	struct folio_io_request request;
	struct iovec iov;
	ssize_t result;
	unsigned completed;
};

static unsigned completions;
static unsigned order[64];
static struct flight *flights;

static void complete(struct folio_io_request *request, ssize_t result)
{
	struct flight *flight = (struct flight *)request;

	flight->result = result;
	flight->completed++;
	if (flights)
		order[completions++] = (unsigned)(flight - flights);
}

static void begin(struct world *w, struct flight *flight, uint32_t op, uint64_t offset, size_t len)
{
	struct folio_io_request *request = &flight->request;

	flight->completed = 0;
	flight->iov = (struct iovec){w->memory + offset % (PAGES * PAGE), len};
	*request = (struct folio_io_request){.handle = w->handle,
		.offset = offset,
		.iov = &flight->iov,
		.iov_count = 1,
		.op = op,
		.complete = complete};
	sim_ops.submit(w->context, &request, 1);
}

/* Fills the buffer with @byte and writes it. */
static ssize_t write_bytes(struct world *w, int byte, uint64_t offset, size_t len)
{
	struct flight flight;

	memset(w->memory + offset, byte, len);
	begin(w, &flight, FOLIO_IO_WRITE, offset, len);
	sim_wait_idle(w->sim);
	assert_int_equal(flight.completed, 1);
	return flight.result;
}

static ssize_t read_bytes(struct world *w, uint64_t offset, size_t len)
{
	struct iovec iov = {w->memory + offset % (PAGES * PAGE), len};

	return sim_ops.read(w->context, w->handle, &iov, 1, offset);
}

static void restart(struct world *w)
{
	sim_ops.close(w->context, w->handle);
	sim_restore(w->sim);
	assert_int_equal(sim_ops.open(w->context, "a", O_RDWR, 0, 0, &w->handle), 0);
}

static bool all_are(const unsigned char *bytes, int byte, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (bytes[i] != byte)
			return false;
	return true;
}

/* ---- reading and writing ---- */

static void reads_what_was_written(void **state)
{
	enum sim_mode mode;

	(void)state;
	for (mode = SIM_INLINE; mode <= SIM_THREAD; mode++) {
		struct world w = open_world(1, mode, 0);
		struct folio_io_attr before = {.size = 0}, after = before;

		assert_int_equal(sim_ops.getattr(w.context, w.handle, &before), 0);
		assert_int_equal(write_bytes(&w, 'x', 2 * PAGE, PAGE + 100), PAGE + 100);
		assert_int_equal(sim_ops.getattr(w.context, w.handle, &after), 0);
		assert_int_equal(after.size, 3 * PAGE + 100);
		assert_true(after.mtime_sec != before.mtime_sec ||
			    after.mtime_nsec != before.mtime_nsec);
		assert_int_equal(read_bytes(&w, 0, 8 * PAGE), 3 * PAGE + 100);
		assert_true(all_are(w.memory, 0, 2 * PAGE));
		assert_true(all_are(w.memory + 2 * PAGE, 'x', PAGE + 100));
		/* The buffer past the end is undefined. */
		assert_true(w.memory[3 * PAGE + 100] != 0);
		assert_int_equal(read_bytes(&w, 4 * PAGE, PAGE), 0);
		assert_null(sim_complaint(w.sim));
		close_world(&w);
	}
}

static void truncates_and_punches(void **state)
{
	struct world w = open_world(1, SIM_INLINE, 0);

	(void)state;
	assert_int_equal(write_bytes(&w, 'x', 0, 8 * PAGE), 8 * PAGE);
	assert_int_equal(sim_ops.truncate(w.context, w.handle, 5 * PAGE + 7), 0);
	assert_int_equal(sim_ops.truncate(w.context, w.handle, 7 * PAGE), 0);
	assert_int_equal(sim_ops.punch(w.context, w.handle, PAGE, 2 * PAGE), 0);
	assert_int_equal(read_bytes(&w, 0, 8 * PAGE), 7 * PAGE);
	assert_true(all_are(w.memory, 'x', PAGE));
	assert_true(all_are(w.memory + PAGE, 0, 2 * PAGE));
	assert_true(all_are(w.memory + 3 * PAGE, 'x', 2 * PAGE + 7));
	assert_true(all_are(w.memory + 5 * PAGE + 7, 0, 2 * PAGE - 7));
	assert_int_equal(sim_ops.truncate(w.context, w.handle, SIM_FILE_MAX + 1), -EFBIG);
	sim_set_no_holes(w.sim, true);
	assert_int_equal(sim_ops.punch(w.context, w.handle, 0, PAGE), -EOPNOTSUPP);
	assert_int_equal(read_bytes(&w, 0, PAGE), PAGE);
	assert_true(all_are(w.memory, 'x', PAGE));
	assert_null(sim_complaint(w.sim));
	close_world(&w);
}

/* A file with its data at the largest offsets; before them is a hole. */
static void sparse_files(void **state)
{
	static const uint64_t bases[] = {(UINT64_C(1) << 32) - 4 * PAGE,
		(UINT64_C(1) << 44) - 4 * PAGE, (UINT64_C(1) << 63) - 8 * PAGE};
	unsigned i, k;

	(void)state;
	for (i = 0; i < sizeof(bases) / sizeof(*bases); i++) {
		struct world w = open_world(1, SIM_INLINE, 0);
		uint64_t base = bases[i], limit = base + SIM_FILE_MAX;
		struct folio_io_attr attr = {
			.struct_size = sizeof(attr), .wanted = FOLIO_IO_ATTR_LIMIT};
		struct flight flight;

		sim_ops.close(w.context, w.handle);
		sim_set_base(w.sim, base);
		assert_int_equal(
			sim_ops.open(w.context, "b", O_RDWR | O_CREAT, 0, 0, &w.handle), 0);
		w.file = sim_find(w.sim, "b");
		if (limit > INT64_MAX)
			limit = INT64_MAX;
		assert_int_equal(sim_ops.getattr(w.context, w.handle, &attr), 0);
		assert_true(attr.limit == limit);
		assert_int_equal(sim_ops.truncate(w.context, w.handle, limit + 1), -EFBIG);
		assert_int_equal(sim_ops.truncate(w.context, w.handle, limit), 0);
		assert_int_equal(sim_ops.truncate(w.context, w.handle, 10), 0);
		assert_int_equal(sim_size(w.file), 10);
		for (k = 0; k < 4; k++) {
			memset(w.memory, 'a' + (int)k, PAGES * PAGE);
			begin(&w, &flight, FOLIO_IO_WRITE, base + (2 * k + 1) * PAGE,
				k < 3 ? PAGE : PAGE - 1);
			assert_int_equal(flight.result, k < 3 ? PAGE : PAGE - 1);
		}
		assert_true(sim_size(w.file) == base + 8 * PAGE - 1);
		assert_int_equal(read_bytes(&w, base, 4 * PAGE), 4 * PAGE);
		assert_int_equal(read_bytes(&w, base + 4 * PAGE, 4 * PAGE), 4 * PAGE - 1);
		for (k = 0; k < 8; k++)
			assert_true(all_are(w.memory + (base + k * PAGE) % (PAGES * PAGE),
				k % 2 ? 'a' + (int)k / 2 : 0, k < 7 ? PAGE : PAGE - 1));
		assert_int_equal(sim_ops.sync(w.context, w.handle, 0), 0);
		assert_int_equal(sim_ops.punch(w.context, w.handle, base - PAGE, 3 * PAGE), 0);
		assert_int_equal(read_bytes(&w, base - PAGE, 4 * PAGE), 4 * PAGE);
		sim_cut(w.sim);
		sim_ops.close(w.context, w.handle);
		sim_restore(w.sim);
		assert_int_equal(sim_ops.open(w.context, "b", O_RDWR, 0, 0, &w.handle), 0);
		assert_true(sim_size(w.file) == base + 8 * PAGE - 1);
		sim_peek(w.file, w.memory, PAGE - 1, base + 7 * PAGE);
		assert_true(all_are(w.memory, 'd', PAGE - 1));
		assert_true(sim_keeps(w.file, w.memory, PAGE - 1, base + 7 * PAGE, NULL));
		assert_null(sim_complaint(w.sim));
		begin(&w, &flight, FOLIO_IO_WRITE, base - PAGE, PAGE);
		assert_int_equal(flight.result, -EFBIG);
		assert_non_null(sim_complaint(w.sim));
		close_world(&w);
	}
}

static void opens(void **state)
{
	struct world w = open_world(1, SIM_INLINE, 10);
	void *handle;

	(void)state;
	assert_int_equal(sim_ops.open(w.context, "b", O_RDWR, 0, 0, &handle), -ENOENT);
	assert_int_equal(
		sim_ops.open(w.context, "a", O_RDWR | O_CREAT | O_EXCL, 0, 0, &handle), -EEXIST);
	assert_int_equal(sim_ops.open(w.context, "b", O_RDWR | O_CREAT, 0, 0, &handle), 0);
	assert_int_equal(sim_size(sim_find(w.sim, "b")), 0);
	sim_ops.close(w.context, handle);
	close_world(&w);
}

/* ---- order ---- */

/* Makes the same calls to two devices. True if both did the same in the same order. */
static bool same_trace(uint64_t seed, uint64_t other, unsigned *first)
{
	uint64_t trace[2];
	unsigned run, i;

	for (run = 0; run < 2; run++) {
		struct world w = open_world(run ? other : seed, SIM_STEP, PAGES * PAGE);
		struct flight flight[PAGES];

		sim_fail_randomly(w.sim, SIM_WRITE, 20000, EIO);
		sim_fail_randomly(w.sim, SIM_READ, 20000, EIO);
		flights = flight;
		completions = 0;
		for (i = 0; i < PAGES; i++)
			begin(&w, &flight[i], i % 2 ? FOLIO_IO_WRITE : FOLIO_IO_READ, i * PAGE,
				PAGE);
		assert_int_equal(sim_in_flight(w.sim), PAGES);
		assert_int_equal(completions, 0);
		assert_int_equal(sim_step(w.sim, 3), 3);
		assert_int_equal(completions, 3);
		assert_int_equal(sim_in_flight(w.sim), PAGES - 3);
		assert_int_equal(sim_step(w.sim, 1000), PAGES - 3);
		flights = NULL;
		for (i = 0; i < PAGES; i++) {
			assert_int_equal(flight[i].completed, 1);
			assert_true(flight[i].result == (ssize_t)PAGE || flight[i].result == -EIO);
		}
		assert_int_equal(sim_in_flight_max(w.sim), PAGES);
		*first = order[0];
		sim_fail_randomly(w.sim, SIM_READ, 0, 0);
		sim_cut(w.sim);
		restart(&w);
		assert_int_equal(read_bytes(&w, 0, PAGES * PAGE), PAGES * PAGE);
		for (i = 0; i < PAGES * PAGE; i++)
			assert_int_equal(w.memory[i], 0);
		trace[run] = sim_trace(w.sim);
		close_world(&w);
	}
	return trace[0] == trace[1];
}

static void seed_decides(void **state)
{
	unsigned same = 0, seed, first, firsts = 0;

	(void)state;
	for (seed = 1; seed <= 20; seed++) {
		assert_true(same_trace(seed, seed, &first));
		firsts |= 1u << first;
		same += same_trace(seed, seed + 1, &first);
	}
	assert_true(same <= 1);
	/* It is not always the same request that completes first. */
	assert_true(firsts & (firsts - 1));
}

static void threads_complete_all(void **state)
{
	struct world w = open_world(1, SIM_THREAD, PAGES * PAGE);
	struct flight flight[PAGES];
	unsigned i;

	(void)state;
	sim_set_delay(w.sim, 8);
	for (i = 0; i < PAGES; i++)
		begin(&w, &flight[i], FOLIO_IO_WRITE, i * PAGE, PAGE);
	sim_wait_idle(w.sim);
	for (i = 0; i < PAGES; i++)
		assert_int_equal(flight[i].result, PAGE);
	assert_int_equal(sim_calls(w.sim, SIM_WRITE), PAGES);
	close_world(&w);
}

/* ---- power ---- */

static void synced_survives(void **state)
{
	uint64_t seed;

	(void)state;
	for (seed = 1; seed <= 50; seed++) {
		struct world w = open_world(seed, SIM_INLINE, 0);

		assert_int_equal(write_bytes(&w, 'x', 0, 4 * PAGE), 4 * PAGE);
		assert_true(sim_has(w.file, w.memory, 4 * PAGE, 0, NULL));
		assert_false(sim_keeps(w.file, w.memory, 4 * PAGE, 0, NULL));
		assert_int_equal(sim_ops.sync(w.context, w.handle, 0), 0);
		assert_true(sim_keeps(w.file, w.memory, 4 * PAGE, 0, NULL));
		sim_cut(w.sim);
		assert_int_equal(read_bytes(&w, 0, PAGE), -EIO);
		assert_int_equal(write_bytes(&w, 'x', 0, PAGE), -EIO);
		assert_int_equal(sim_ops.sync(w.context, w.handle, 0), -EIO);
		assert_int_equal(sim_ops.truncate(w.context, w.handle, 0), -EIO);
		assert_int_equal(sim_ops.punch(w.context, w.handle, 0, PAGE), -EIO);
		sim_restore(w.sim);
		/* A handle opened before the cut stays unusable. */
		assert_int_equal(sim_ops.sync(w.context, w.handle, 0), -EIO);
		sim_ops.close(w.context, w.handle);
		assert_int_equal(sim_ops.open(w.context, "a", O_RDWR, 0, 0, &w.handle), 0);
		assert_int_equal(sim_size(w.file), 4 * PAGE);
		assert_int_equal(read_bytes(&w, 0, 4 * PAGE), 4 * PAGE);
		assert_true(all_are(w.memory, 'x', 4 * PAGE));
		close_world(&w);
	}
}

/*
 * After an unsynced overwrite each sector is the old one or any of the new ones. Over many seeds
 * all outcomes occur.
 */
static void unsynced_is_any(void **state)
{
	unsigned seen[256] = {0}, seed, sector, mixed = 0, sizes = 0;

	(void)state;
	for (seed = 1; seed <= 50; seed++) {
		struct world w = open_world(seed, SIM_INLINE, 0);
		uint64_t size;

		assert_int_equal(write_bytes(&w, 'a', 0, 2 * PAGE), 2 * PAGE);
		assert_int_equal(sim_ops.sync(w.context, w.handle, FOLIO_IO_DATA_ONLY), 0);
		assert_int_equal(write_bytes(&w, 'b', 0, PAGE), PAGE);
		assert_int_equal(write_bytes(&w, 'c', 0, PAGE), PAGE);
		assert_int_equal(write_bytes(&w, 'd', 2 * PAGE, PAGE), PAGE);
		sim_cut(w.sim);
		sim_restore(w.sim);
		size = sim_size(w.file);
		assert_true(size == 2 * PAGE || size == 3 * PAGE);
		sizes |= size == 2 * PAGE ? 1 : 2;
		sim_peek(w.file, w.memory, 4 * PAGE, 0);
		for (sector = 0; sector < 3 * PAGE / SECTOR; sector++) {
			assert_true(all_are(
				w.memory + sector * SECTOR, w.memory[sector * SECTOR], SECTOR));
			seen[w.memory[sector * SECTOR]]++;
			mixed += w.memory[sector * SECTOR] != w.memory[0];
		}
		assert_true(all_are(w.memory + PAGE, 'a', PAGE));
		assert_true(all_are(w.memory + size, 0, 4 * PAGE - size));
		close_world(&w);
	}
	assert_true(seen['a'] && seen['b'] && seen['c'] && seen['d'] && mixed);
	assert_int_equal(sizes, 3);
}

static void allows_what_may_survive(void **state)
{
	struct world w = open_world(3, SIM_INLINE, 0);
	unsigned char *image = calloc(3, PAGE);
	uint64_t where = 0;

	(void)state;
	assert_non_null(image);
	assert_int_equal(write_bytes(&w, 'a', 0, PAGE), PAGE);
	assert_int_equal(sim_ops.sync(w.context, w.handle, 0), 0);
	assert_int_equal(write_bytes(&w, 'b', 0, 2 * PAGE), 2 * PAGE);
	sim_cut(w.sim);
	memset(image, 'a', PAGE);
	assert_true(sim_allows(w.file, image, PAGE, &where));
	assert_true(sim_allows(w.file, image, 2 * PAGE, &where));
	memset(image + SECTOR, 'b', PAGE);
	assert_true(sim_allows(w.file, image, 2 * PAGE, &where));
	/* A sector is never torn in the middle. */
	image[2 * SECTOR - 1] = 'a';
	assert_false(sim_allows(w.file, image, 2 * PAGE, &where));
	assert_int_equal(where, SECTOR);
	image[2 * SECTOR - 1] = 'b';
	assert_false(sim_allows(w.file, image, PAGE - 1, &where));
	/* Synced data is not lost. */
	memset(image, 0, SECTOR);
	assert_false(sim_allows(w.file, image, 2 * PAGE, &where));
	assert_int_equal(where, 0);
	sim_restore(w.sim);
	free(image);
	close_world(&w);
}

static void flight_survives_in_part(void **state)
{
	unsigned seed, torn = 0;

	(void)state;
	for (seed = 1; seed <= 40; seed++) {
		struct world w = open_world(seed, SIM_STEP, PAGE);
		struct flight flight;
		unsigned i, new = 0;

		memset(w.memory, 'x', PAGE);
		begin(&w, &flight, FOLIO_IO_WRITE, 0, PAGE);
		sim_cut(w.sim);
		assert_int_equal(sim_step(w.sim, 2), 1);
		assert_int_equal(flight.result, -EIO);
		sim_restore(w.sim);
		sim_peek(w.file, w.memory, PAGE, 0);
		for (i = 0; i < PAGE / SECTOR; i++)
			new += w.memory[i * SECTOR] == 'x';
		torn += new > 0 && new < PAGE / SECTOR;
		close_world(&w);
	}
	assert_true(torn > 5);
}

static void cut_comes_on_command(void **state)
{
	struct world w = open_world(1, SIM_INLINE, 0);

	(void)state;
	sim_cut_at(w.sim, 3);
	assert_int_equal(write_bytes(&w, 'x', 0, PAGE), PAGE);
	assert_int_equal(sim_ops.sync(w.context, w.handle, 0), 0);
	assert_false(sim_is_cut(w.sim));
	assert_int_equal(sim_ops.sync(w.context, w.handle, 0), -EIO);
	assert_true(sim_is_cut(w.sim));
	restart(&w);
	assert_false(sim_is_cut(w.sim));
	assert_int_equal(read_bytes(&w, 0, PAGE), PAGE);
	close_world(&w);
}

/*
 * A failed sync loses some of the data that it should have made durable, and a later sync does not
 * repair that.
 */
static void failed_sync_forgets(void **state)
{
	unsigned seed, lost = 0, kept = 0, i;

	(void)state;
	for (seed = 1; seed <= 20; seed++) {
		struct world w = open_world(seed, SIM_INLINE, PAGE);

		assert_int_equal(write_bytes(&w, 'x', 0, PAGE), PAGE);
		sim_fail(w.sim, SIM_SYNC, 1, EIO, false);
		assert_int_equal(sim_ops.sync(w.context, w.handle, 0), -EIO);
		assert_int_equal(sim_ops.sync(w.context, w.handle, 0), 0);
		/* Data written after it is synced as usual. */
		assert_int_equal(write_bytes(&w, 'y', PAGE, PAGE), PAGE);
		assert_int_equal(sim_ops.sync(w.context, w.handle, 0), 0);
		sim_cut(w.sim);
		sim_restore(w.sim);
		sim_peek(w.file, w.memory, 2 * PAGE, 0);
		for (i = 0; i < PAGE / SECTOR; i++) {
			lost += w.memory[i * SECTOR] == 0;
			kept += w.memory[i * SECTOR] == 'x';
		}
		assert_true(all_are(w.memory + PAGE, 'y', PAGE));
		close_world(&w);
	}
	assert_true(lost && kept);
}

/* A sync of the data keeps data and size, and a cut takes the times back. */
static void data_sync_keeps_no_times(void **state)
{
	struct world w = open_world(1, SIM_INLINE, 0);
	struct folio_io_attr attr = {.struct_size = sizeof(attr)}, synced = attr, after = attr;

	(void)state;
	assert_int_equal(sim_ops.sync(w.context, w.handle, 0), 0);
	assert_true(sim_keeps_times(w.file));
	assert_int_equal(sim_ops.getattr(w.context, w.handle, &synced), 0);
	assert_int_equal(write_bytes(&w, 'x', 0, PAGE), PAGE);
	assert_int_equal(sim_ops.truncate(w.context, w.handle, 3 * PAGE), 0);
	assert_int_equal(sim_ops.sync(w.context, w.handle, FOLIO_IO_DATA_ONLY), 0);
	assert_true(sim_keeps(w.file, w.memory, 3 * PAGE, 0, NULL));
	assert_false(sim_keeps_times(w.file));
	assert_int_equal(sim_ops.getattr(w.context, w.handle, &attr), 0);
	assert_int_not_equal(attr.ctime_sec, synced.ctime_sec);
	sim_cut(w.sim);
	restart(&w);
	assert_int_equal(sim_size(w.file), 3 * PAGE);
	assert_int_equal(sim_ops.getattr(w.context, w.handle, &after), 0);
	assert_int_equal(after.ctime_sec, synced.ctime_sec);
	assert_int_equal(after.ctime_nsec, synced.ctime_nsec);
	assert_true(sim_keeps_times(w.file));
	close_world(&w);
}

/* ---- failures ---- */

static void nth_call_fails(void **state)
{
	struct world w = open_world(1, SIM_INLINE, 4 * PAGE);
	unsigned i;

	(void)state;
	sim_fail(w.sim, SIM_READ, 2, EIO, false);
	assert_int_equal(read_bytes(&w, 0, PAGE), PAGE);
	assert_int_equal(read_bytes(&w, 0, PAGE), -EIO);
	assert_int_equal(read_bytes(&w, 0, PAGE), PAGE);
	sim_fail(w.sim, SIM_WRITE, 2, EIO, true);
	assert_int_equal(write_bytes(&w, 'x', 0, PAGE), PAGE);
	for (i = 0; i < 3; i++)
		assert_int_equal(write_bytes(&w, 'x', 0, PAGE), -EIO);
	sim_pause(w.sim, true);
	assert_int_equal(write_bytes(&w, 'x', 0, PAGE), PAGE);
	sim_pause(w.sim, false);
	assert_int_equal(write_bytes(&w, 'x', 0, PAGE), -EIO);
	sim_fail(w.sim, SIM_WRITE, 0, 0, false);
	assert_int_equal(write_bytes(&w, 'x', 0, PAGE), PAGE);
	assert_int_equal(sim_injected(w.sim, SIM_WRITE), 4);
	assert_int_equal(sim_failed(w.file, SIM_WRITE), 4);
	sim_fail(w.sim, SIM_TRUNCATE, 1, EPERM, false);
	assert_int_equal(sim_ops.truncate(w.context, w.handle, 0), -EPERM);
	assert_int_equal(sim_size(w.file), 4 * PAGE);
	close_world(&w);
}

static void ranges_fail(void **state)
{
	struct world w = open_world(1, SIM_INLINE, 8 * PAGE);

	(void)state;
	sim_fail_range(w.file, SIM_WRITE, 2 * PAGE, PAGE, EIO, true);
	assert_int_equal(write_bytes(&w, 'x', 0, 2 * PAGE), 2 * PAGE);
	assert_int_equal(write_bytes(&w, 'x', 0, 3 * PAGE), -EIO);
	assert_int_equal(write_bytes(&w, 'x', 2 * PAGE, PAGE), -EIO);
	assert_int_equal(write_bytes(&w, 'x', 3 * PAGE, PAGE), PAGE);
	assert_int_equal(read_bytes(&w, 2 * PAGE, PAGE), PAGE);
	sim_fail_range(w.file, SIM_READ, 0, PAGE, ENXIO, false);
	assert_int_equal(read_bytes(&w, 0, 2 * PAGE), -ENXIO);
	assert_int_equal(read_bytes(&w, 0, 2 * PAGE), 2 * PAGE);
	close_world(&w);
}

static void rates_fail(void **state)
{
	struct world w = open_world(1, SIM_INLINE, PAGE);
	unsigned i, failed = 0;

	(void)state;
	sim_fail_randomly(w.sim, SIM_READ, 65536 / 4, EIO);
	for (i = 0; i < 1000; i++)
		failed += read_bytes(&w, 0, PAGE) == -EIO;
	assert_in_range(failed, 150, 350);
	close_world(&w);
}

static void reads_come_short(void **state)
{
	struct world w = open_world(1, SIM_INLINE, 4 * PAGE);

	(void)state;
	sim_shorten(w.sim, 1, 100);
	assert_int_equal(read_bytes(&w, 0, 2 * PAGE), 100);
	assert_int_equal(read_bytes(&w, 0, 2 * PAGE), 2 * PAGE);
	close_world(&w);
}

/* Any subset of the sectors of a failed write is written; the others are unchanged. */
static void failed_writes_tear(void **state)
{
	unsigned seed, i, torn = 0;

	(void)state;
	for (seed = 1; seed <= 20; seed++) {
		struct world w = open_world(seed, SIM_INLINE, PAGE);
		unsigned new = 0;

		sim_fail(w.sim, SIM_WRITE, 1, EIO, false);
		assert_int_equal(write_bytes(&w, 'x', 0, PAGE), -EIO);
		sim_peek(w.file, w.memory, PAGE, 0);
		for (i = 0; i < PAGE / SECTOR; i++) {
			assert_true(all_are(w.memory + i * SECTOR, 'x', SECTOR) ||
				    all_are(w.memory + i * SECTOR, 0, SECTOR));
			new += w.memory[i * SECTOR] == 'x';
		}
		torn += new > 0 && new < PAGE / SECTOR;
		close_world(&w);
	}
	assert_true(torn > 10);
}

/*
 * A failed flush, or a last close without a flush, loses sectors that were written since the last
 * sync. Others keep their bytes, and those that were not lost are not lost later.
 */
static void failed_flushes_lose(void **state)
{
	unsigned seed, i, lost, some = 0;

	(void)state;
	for (seed = 1; seed <= 20; seed++) {
		struct world w = open_world(seed, SIM_INLINE, 0);

		assert_int_equal(write_bytes(&w, 'a', 0, 2 * PAGE), 2 * PAGE);
		assert_int_equal(sim_ops.sync(w.context, w.handle, FOLIO_IO_DATA_ONLY), 0);
		assert_int_equal(write_bytes(&w, 'b', PAGE, PAGE), PAGE);
		sim_fail(w.sim, SIM_FLUSH, 1 + seed % 2, EIO, true);
		if (seed % 2) {
			assert_int_equal(sim_ops.flush(w.context, w.handle), 0);
			assert_int_equal(sim_ops.flush(w.context, w.handle), -EIO);
			assert_int_equal(read_bytes(&w, 0, 2 * PAGE), 2 * PAGE);
			assert_true(all_are(w.memory + PAGE, 'b', PAGE));
			assert_int_equal(write_bytes(&w, 'c', PAGE, PAGE), PAGE);
		}
		sim_ops.close(w.context, w.handle);
		assert_int_equal(sim_ops.open(w.context, "a", O_RDWR, 0, 0, &w.handle), 0);
		assert_int_equal(read_bytes(&w, 0, 2 * PAGE), 2 * PAGE);
		assert_true(all_are(w.memory, 'a', PAGE));
		for (lost = 0, i = PAGE; i < 2 * PAGE; i += SECTOR)
			lost += w.memory[i] == (seed % 2 ? 'b' : 'a');
		some += lost > 0 && lost < PAGE / SECTOR;
		assert_int_equal(sim_ops.flush(w.context, w.handle), -EIO);
		sim_peek(w.file, w.memory + 2 * PAGE, 2 * PAGE, 0);
		assert_memory_equal(w.memory, w.memory + 2 * PAGE, 2 * PAGE);
		assert_null(sim_complaint(w.sim));
		close_world(&w);
	}
	assert_true(some > 10);
}

static void capacity_ends(void **state)
{
	struct world w = open_world(1, SIM_INLINE, 0);

	(void)state;
	sim_set_capacity(w.sim, 4 * PAGE);
	/* A hole takes no capacity. */
	assert_int_equal(sim_ops.truncate(w.context, w.handle, 100 * PAGE), 0);
	assert_int_equal(write_bytes(&w, 'x', 0, 3 * PAGE), 3 * PAGE);
	assert_int_equal(write_bytes(&w, 'x', 8 * PAGE, 2 * PAGE), -ENOSPC);
	assert_int_equal(sim_failed(w.file, SIM_WRITE), 1);
	/* Overwriting takes no capacity. */
	assert_int_equal(write_bytes(&w, 'y', 0, 3 * PAGE), 3 * PAGE);
	assert_int_equal(sim_ops.punch(w.context, w.handle, 0, 2 * PAGE), 0);
	assert_int_equal(sim_ops.truncate(w.context, w.handle, 3 * PAGE), 0);
	assert_int_equal(write_bytes(&w, 'x', 8 * PAGE, 2 * PAGE), 2 * PAGE);
	close_world(&w);
}

/* ---- violations of the contract ---- */

static void overlaps_a_write(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 6; i++) {
		struct world w = open_world(1, SIM_STEP, 8 * PAGE);
		struct flight flight[2];

		begin(&w, &flight[0], FOLIO_IO_WRITE, 2 * PAGE, 2 * PAGE);
		switch (i) {
		case 0:
			begin(&w, &flight[1], FOLIO_IO_WRITE, 3 * PAGE, PAGE);
			break;
		case 1:
			assert_int_equal(sim_ops.truncate(w.context, w.handle, 3 * PAGE), 0);
			break;
		case 2:
			assert_int_equal(sim_ops.punch(w.context, w.handle, PAGE, 2 * PAGE), 0);
			break;
		case 3:
			w.memory[3 * PAGE + 77]++;
			break;
		case 4: /* No overlap: allowed. */
			begin(&w, &flight[1], FOLIO_IO_WRITE, 4 * PAGE, PAGE);
			assert_int_equal(sim_ops.truncate(w.context, w.handle, 6 * PAGE), 0);
			assert_int_equal(sim_ops.punch(w.context, w.handle, 0, 2 * PAGE), 0);
			w.memory[4 * PAGE - 1] += 0;
			break;
		case 5: /* Reads are allowed. */
			begin(&w, &flight[1], FOLIO_IO_READ, 4 * PAGE, PAGE);
			break;
		}
		sim_step(w.sim, 2);
		if (i < 4)
			assert_non_null(sim_complaint(w.sim));
		else
			assert_null(sim_complaint(w.sim));
		close_world(&w);
	}
}

static void wrong_shapes(void **state)
{
	struct world w;
	struct flight flight;
	unsigned i;

	(void)state;
	for (i = 0; i < 5; i++) {
		w = open_world(1, SIM_INLINE, 4 * PAGE);
		switch (i) {
		case 0:
			begin(&w, &flight, FOLIO_IO_READ, 512, PAGE);
			break;
		case 1:
			begin(&w, &flight, FOLIO_IO_READ, 0, 512);
			break;
		case 2:
			sim_ops.punch(w.context, w.handle, 0, 100);
			break;
		case 3:
			sim_ops.close(w.context, w.handle);
			sim_ops.open(w.context, "a", O_RDONLY, 0, 0, &w.handle);
			begin(&w, &flight, FOLIO_IO_WRITE, 0, PAGE);
			break;
		/* A write of a partial page is allowed, and a hole may reach past the end. */
		case 4:
			assert_int_equal(sim_ops.punch(w.context, w.handle, 3 * PAGE, 2 * PAGE), 0);
			assert_int_equal(sim_size(w.file), 4 * PAGE);
			begin(&w, &flight, FOLIO_IO_WRITE, PAGE, 512);
			begin(&w, &flight, FOLIO_IO_WRITE, 4 * PAGE, 512);
			assert_int_equal(sim_size(w.file), 4 * PAGE + 512);
			break;
		}
		if (i < 4)
			assert_non_null(sim_complaint(w.sim));
		else
			assert_null(sim_complaint(w.sim));
		close_world(&w);
	}
}

/* The first files of two devices have the same inode number. A probe is for getattr only. */
static void devices_and_probes(void **state)
{
	struct world w = open_world(1, SIM_INLINE, PAGE);
	struct folio_io_attr a = {.struct_size = sizeof(a)}, b = a;
	struct sim_file *file = sim_add(w.sim, "b", NULL, 0);
	void *handle;

	(void)state;
	a.wanted = FOLIO_IO_ATTR_ACCESS | FOLIO_IO_ATTR_LIMIT;
	b.wanted = a.wanted;
	sim_set_device(file, 2);
	assert_int_equal(
		sim_ops.open_fd(w.context, sim_fd(file), O_RDWR, FOLIO_IO_PROBE, &handle), 0);
	assert_int_equal(sim_ops.getattr(w.context, w.handle, &a), 0);
	assert_int_equal(sim_ops.getattr(w.context, handle, &b), 0);
	assert_int_not_equal(a.device, b.device);
	assert_int_equal(a.inode, b.inode);
	assert_int_equal(a.fields, FOLIO_IO_ATTR_CTIME | FOLIO_IO_ATTR_LIMIT);
	assert_int_equal(b.fields, FOLIO_IO_ATTR_ACCESS | FOLIO_IO_ATTR_LIMIT);
	assert_int_equal(a.limit, SIM_FILE_MAX);
	assert_int_equal(sim_calls(w.sim, SIM_OPEN), 1);
	assert_null(sim_complaint(w.sim));
	sim_ops.sync(w.context, handle, 0);
	assert_non_null(sim_complaint(w.sim));
	sim_ops.close(w.context, handle);
	assert_int_equal(sim_ops.open_fd(w.context, 3, O_RDWR, 0, &handle), -EBADF);
	close_world(&w);
}

static void wrong_requests(void **state)
{
	struct folio_io_request *again;
	struct flight flight;
	struct world w;
	unsigned i;

	(void)state;
	for (i = 0; i < 5; i++) {
		w = open_world(1, SIM_STEP, 4 * PAGE);
		sim_set_end(w.file, 2 * PAGE + 1);
		begin(&w, &flight, FOLIO_IO_READ, 2 * PAGE, PAGE);
		switch (i) {
		case 0: /* Once is allowed, in the page of the end. */
			break;
		case 1:
			again = &flight.request;
			sim_ops.submit(w.context, &again, 1);
			break;
		case 2:
			sim_step(w.sim, 1);
			begin(&w, &flight, FOLIO_IO_READ, PAGE, 3 * PAGE);
			break;
		case 3:
			read_bytes(&w, 3 * PAGE, PAGE);
			break;
		case 4:
			sim_step(w.sim, 1);
			sim_ops.close(w.context, w.handle);
			sim_ops.open(w.context, "a", O_RDWR, 0, FOLIO_IO_PROBE, &w.handle);
			begin(&w, &flight, FOLIO_IO_READ, 0, PAGE);
			break;
		}
		if (i)
			assert_non_null(sim_complaint(w.sim));
		else
			assert_null(sim_complaint(w.sim));
		sim_step(w.sim, 2);
		assert_int_equal(flight.completed, 1);
		close_world(&w);
	}
}

static void no_handle_is_left(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (!child) {
		struct world w = open_world(1, SIM_INLINE, 0);

		signal(SIGABRT, SIG_DFL);
		sim_ops.destroy(w.context);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_was_written),
		cmocka_unit_test(truncates_and_punches),
		cmocka_unit_test(sparse_files),
		cmocka_unit_test(opens),
		cmocka_unit_test(seed_decides),
		cmocka_unit_test(threads_complete_all),
		cmocka_unit_test(synced_survives),
		cmocka_unit_test(unsynced_is_any),
		cmocka_unit_test(allows_what_may_survive),
		cmocka_unit_test(flight_survives_in_part),
		cmocka_unit_test(cut_comes_on_command),
		cmocka_unit_test(failed_sync_forgets),
		cmocka_unit_test(data_sync_keeps_no_times),
		cmocka_unit_test(nth_call_fails),
		cmocka_unit_test(ranges_fail),
		cmocka_unit_test(rates_fail),
		cmocka_unit_test(reads_come_short),
		cmocka_unit_test(failed_writes_tear),
		cmocka_unit_test(failed_flushes_lose),
		cmocka_unit_test(capacity_ends),
		cmocka_unit_test(overlaps_a_write),
		cmocka_unit_test(wrong_shapes),
		cmocka_unit_test(devices_and_probes),
		cmocka_unit_test(wrong_requests),
		cmocka_unit_test(no_handle_is_left),
	};

	return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
