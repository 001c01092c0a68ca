/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workers.c - threads write one file through several handles, on the simulated device, which fails
 * and loses power.
 *
 * Every sector tells which write it comes from (ledger.h). From that follows whether it may be
 * found
 *
 *   by a reader            no older than the writes that had ended before the read began
 *   by its owner           where only one thread writes the sector: exactly the last write
 *   after a power cut      no older than the writes that had ended before the last sync with
 *                          result 0 began
 *
 * The parts of the file:
 *
 *   mixed     the sectors of each page belong to different threads, which write the page
 *             concurrently
 *   shared    all threads write complete pages: a reader by copy finds a page of one write
 *   own       each thread has some pages for itself, and also makes holes in them
 *   tail      the size changes and all threads write: a sector is the beginning of one write,
 *             followed by zeros
 *
 * The threads work in phases. After each phase, with nothing failing and no thread running, the
 * test checks that each handle reports errors: an error that no sync has returned through the
 * handle is returned now, and only once.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <folio/cache.h>

#include "ledger.h"
#include "sim.h"

#define PAGE         ((uint64_t)FOLIO_PAGE_SIZE)
#define SECTORS      (FOLIO_PAGE_SIZE / SECTOR) /* per page */
#define MIXED        48u                        /* pages */
#define SHARED       24u
#define OWN          48u
#define TAIL         32u
#define BASE         (MIXED + SHARED + OWN)
#define SECTORS_BASE (BASE * SECTORS)
#define SECTORS_ALL  ((BASE + TAIL) * SECTORS)
#define THREADS_MAX  8
#define HANDLES      3
#define HANG_SECONDS 120

static struct {
	uint64_t seed, seeds, operations;
	unsigned threads;
} options = {.seeds = 1, .operations = 2000};

struct totals {
	uint64_t reads, writes, syncs, syncs_failed, cuts, failed, phases, evictions;
};

static struct workers {
	uint64_t seed;
	unsigned threads;
	bool faults, cuts;
	struct folio_cache_params params;
	struct sim *sim;
	struct sim_file *disk;
	struct folio_cache *cache;
	struct folio_file *file[HANDLES];
	unsigned phase;
	uint64_t operations; /* per thread and phase */

	struct ledger *ledger;
	/* By sector of the mixed and own pages: its owner's last write. 0: zeros. */
	uint32_t last[SECTORS_ALL];
	bool last_unknown[SECTORS_ALL]; /* the sector may also be zeros: a hole failed */

	_Atomic unsigned reported[HANDLES]; /* syncs that failed in this phase */
	uint64_t failed_before;             /* failed writes before this phase */
	struct totals totals;
} workers;

struct worker {
	pthread_t thread;
	unsigned number;
	uint64_t random;
	struct totals totals;
	uint32_t begun[SECTORS_ALL];
	unsigned char buffer[8 * FOLIO_PAGE_SIZE];
};

static struct worker worker[THREADS_MAX];

/* ---- random, reports ---- */

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t below(uint64_t *random, uint64_t limit)
{
	return next_random(random) % limit;
}

#define wrong ledger_wrong

void ledger_wrong(const char *format, ...)
{
	va_list args;

	printf("workers: seed %llu, phase %u: ", (unsigned long long)workers.seed, workers.phase);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\nAgain: workers --seed %llu --operations %llu\n", (unsigned long long)workers.seed,
		(unsigned long long)options.operations);
	fflush(stdout);
	_exit(1);
}

static void hang(int signal)
{
	(void)signal;
	wrong("no end after %d seconds", HANG_SECONDS);
}

static void *must(void *memory)
{
	if (!memory) {
		fprintf(stderr, "workers: no memory\n");
		exit(3);
	}
	return memory;
}

/* A call has failed. Reports a violation unless the error is expected. */
static void failed(const char *what, int64_t r)
{
	if (r == -ENOMEM ||
		((workers.faults || sim_is_cut(workers.sim)) && (r == -EIO || r == -ENOSPC)))
		return;
	wrong("%s: %s", what, strerror((int)-r));
}

/* ---- the operations of a thread ---- */

static unsigned mixed_owner(uint64_t sector)
{
	return (unsigned)(sector % workers.threads);
}

/* The first of the own pages of thread @number, and their number. */
static uint64_t own_page(unsigned number, uint64_t *pages)
{
	*pages = OWN / workers.threads;
	return MIXED + SHARED + number * *pages;
}

static bool is_own(const struct worker *w, uint64_t sector)
{
	uint64_t pages, first = own_page(w->number, &pages) * SECTORS;

	if (sector < MIXED * SECTORS)
		return mixed_owner(sector) == w->number;
	return sector >= first && sector < first + pages * SECTORS;
}

static struct folio_file *any_file(struct worker *w)
{
	return workers.file[below(&w->random, HANDLES)];
}

/*
 * Writes by copy, or in place if the range is within one page. Returns the number of sectors
 * written.
 */
static uint64_t write_sectors(
	struct worker *w, uint64_t sector, uint64_t sectors, uint32_t number, bool in_place)
{
	struct folio *folio;
	void *page;
	ssize_t n;

	ledger_fill(w->buffer, sectors, number);
	w->totals.writes++;
	if (!in_place) {
		n = folio_file_write(any_file(w), w->buffer, sectors * SECTOR, sector * SECTOR);
		if (n < 0)
			failed("write", n);
		return n < 0 ? 0 : (uint64_t)n / SECTOR;
	}
	n = folio_file_get_page(any_file(w), sector / SECTORS, 0, &folio, &page);
	if (n) {
		failed("get", n);
		return 0;
	}
	n = folio_lock(folio);
	/* -ENODATA: the page was invalidated in the meantime. */
	if (n && n != -ENODATA)
		failed("lock", n);
	if (!n) {
		n = folio_mark_dirty(folio, 0);
		if (!n)
			memcpy((char *)page + sector % SECTORS * SECTOR, w->buffer,
				sectors * SECTOR);
		folio_unlock(folio);
	}
	folio_put(folio);
	return n ? 0 : sectors;
}

static void do_write_own(struct worker *w)
{
	uint64_t sector, sectors, pages, first, done, i;
	bool in_place = below(&w->random, 4) == 0;
	uint32_t number;

	if (below(&w->random, 2)) {
		sector = below(&w->random, MIXED * SECTORS / workers.threads) * workers.threads +
			 w->number;
		sectors = 1;
		if (sector >= MIXED * SECTORS)
			return;
	} else {
		first = own_page(w->number, &pages) * SECTORS;
		sector = first + below(&w->random, pages * SECTORS);
		sectors = 1 + below(&w->random, in_place ? SECTORS : 5 * SECTORS);
		if (sectors > first + pages * SECTORS - sector)
			sectors = first + pages * SECTORS - sector;
		if (in_place && sectors > SECTORS - sector % SECTORS)
			sectors = SECTORS - sector % SECTORS;
	}
	number = ledger_begin(workers.ledger, sector, sectors);
	done = write_sectors(w, sector, sectors, number, in_place);
	for (i = sector; i < sector + done; i++) {
		workers.last[i] = number;
		workers.last_unknown[i] = false;
	}
	ledger_end(workers.ledger, number, sector, done);
}

static void do_write_shared(struct worker *w)
{
	bool in_place = below(&w->random, 4) == 0;
	uint64_t page = MIXED + below(&w->random, SHARED), pages = 1 + below(&w->random, 4);
	uint32_t number;

	if (in_place)
		pages = 1;
	if (pages > MIXED + SHARED - page)
		pages = MIXED + SHARED - page;
	number = ledger_begin(workers.ledger, page * SECTORS, pages * SECTORS);
	ledger_end(workers.ledger, number, page * SECTORS,
		write_sectors(w, page * SECTORS, pages * SECTORS, number, in_place));
}

static void do_tail(struct worker *w)
{
	uint64_t sector = BASE * SECTORS + below(&w->random, TAIL * SECTORS), sectors;
	int r;

	if (below(&w->random, 2)) {
		r = folio_file_truncate(any_file(w), sector * SECTOR + below(&w->random, 64) * 8);
		if (r)
			failed("truncate", r);
		return;
	}
	sectors = 1 + below(&w->random, 3 * SECTORS);
	if (sectors > SECTORS_ALL - sector)
		sectors = SECTORS_ALL - sector;
	write_sectors(w, sector, sectors, ledger_begin(workers.ledger, sector, sectors), false);
}

static void do_read(struct worker *w)
{
	uint64_t sector = below(&w->random, SECTORS_ALL), sectors, i;
	uint32_t number, first = 0;
	ssize_t n;

	sectors = 1 + below(&w->random, sizeof(w->buffer) / SECTOR);
	if (sectors > SECTORS_ALL - sector)
		sectors = SECTORS_ALL - sector;
	ledger_sync_begin(workers.ledger, w->begun, sector, sectors);
	w->totals.reads++;
	n = folio_file_read(any_file(w), w->buffer, sectors * SECTOR, sector * SECTOR);
	if (n < 0) {
		failed("read", n);
		return;
	}
	for (i = sector; i < sector + (uint64_t)n / SECTOR; i++) {
		number = ledger_read(workers.ledger, "a read", w->buffer + (i - sector) * SECTOR, i,
			i >= SECTORS_BASE);
		if (i >= SECTORS_BASE)
			continue;
		if (!ledger_allows(workers.ledger, number, i, w->begun[i]))
			wrong("a read finds write %u in sector %llu, but a later one had ended",
				number, (unsigned long long)i);
		if (is_own(w, i) && number != workers.last[i] &&
			!(workers.last_unknown[i] && !number))
			wrong("a read finds write %u in sector %llu, not its owner's last, %u",
				number, (unsigned long long)i, workers.last[i]);
		if (i >= MIXED * SECTORS && i < (MIXED + SHARED) * SECTORS) {
			if (i == sector || i % SECTORS == 0)
				first = number;
			if (number != first)
				wrong("a read finds two writes in page %llu",
					(unsigned long long)(i / SECTORS));
		}
	}
}

static void do_punch(struct worker *w)
{
	uint64_t pages, first = own_page(w->number, &pages), page, count, i;
	uint32_t number;
	int r;

	page = first + below(&w->random, pages);
	count = 1 + below(&w->random, first + pages - page);
	number = ledger_hole_begin(workers.ledger, page * SECTORS, count * SECTORS);
	r = folio_file_punch(any_file(w), page * PAGE, count * PAGE);
	if (r)
		failed("punch", r);
	else
		ledger_hole_end(workers.ledger, number, page * SECTORS, count * SECTORS);
	for (i = page * SECTORS; i < (page + count) * SECTORS; i++) {
		/* A failed punch may have made some of the holes. */
		workers.last_unknown[i] = r;
		if (!r)
			workers.last[i] = 0;
	}
}

/*
 * Checks a sample of the sectors that only this thread writes: they must be durable, whatever the
 * other threads do.
 */
static void check_synced(struct worker *w)
{
	unsigned char right[SECTOR];
	unsigned i;

	for (i = 0; i < 16; i++) {
		uint64_t sector = below(&w->random, SECTORS_BASE);

		if (!is_own(w, sector) || workers.last_unknown[sector])
			continue;
		ledger_fill(right, 1, workers.last[sector]);
		if (!sim_keeps(workers.disk, right, SECTOR, sector * SECTOR, NULL) &&
			!sim_is_cut(workers.sim))
			wrong("after a sync a power cut can lose sector %llu",
				(unsigned long long)sector);
	}
}

static void do_sync(struct worker *w)
{
	unsigned handle = (unsigned)below(&w->random, HANDLES);
	int r;

	ledger_sync_begin(workers.ledger, w->begun, 0, SECTORS_BASE);
	w->totals.syncs++;
	r = folio_file_sync(workers.file[handle], NULL, below(&w->random, 2) ? FOLIO_SYNC_DATA : 0);
	if (r) {
		failed("sync", r);
		w->totals.syncs_failed++;
		atomic_fetch_add(&workers.reported[handle], 1);
		return;
	}
	ledger_sync_end(workers.ledger, w->begun, 0, SECTORS_BASE);
	check_synced(w);
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;
	uint64_t i;
	int r = 0;

	for (i = 0; i < workers.operations && !sim_is_cut(workers.sim); i++) {
		switch (below(&w->random, 32)) {
		case 0 ... 8:
			do_read(w);
			break;
		case 9 ... 17:
			do_write_own(w);
			break;
		case 18 ... 24:
			do_write_shared(w);
			break;
		case 25:
		case 26:
			do_tail(w);
			break;
		case 27:
			do_punch(w);
			break;
		case 28:
			do_sync(w);
			break;
		case 29:
			r = folio_file_invalidate(any_file(w), 0, UINT64_MAX);
			break;
		case 30:
			r = (int)folio_file_prefetch(any_file(w),
				&(struct folio_range){below(&w->random, BASE) * PAGE, 8 * PAGE}, 1);
			break;
		default:
			do_read(w);
		}
		if (r < 0)
			wrong("invalidate or prefetch: %s", strerror(-r));
		if (sim_complaint(workers.sim))
			wrong("the backend's contract is violated: %s", sim_complaint(workers.sim));
	}
	return NULL;
}

/* ---- between the phases ---- */

static void open_all(void)
{
	unsigned i;
	int r;

	r = folio_cache_open(&workers.params, &workers.cache);
	for (i = 0; !r && i < HANDLES; i++)
		r = folio_file_open(workers.cache, "a", O_RDWR, 0, &workers.file[i]);
	if (r)
		wrong("open: %s", strerror(-r));
}

static void close_all(bool abandon)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};
	unsigned i;
	int r;

	for (i = 0; i < HANDLES; i++) {
		r = abandon ? folio_file_abandon(workers.file[i])
			    : folio_file_close(workers.file[i]);
		if (r && !abandon)
			wrong("close: %s", strerror(-r));
	}
	folio_cache_stats(workers.cache, &stats);
	workers.totals.evictions += stats.evictions;
	if (stats.pages_dirty || stats.pages_writeback)
		wrong("all files are closed, but pages are dirty");
	r = folio_cache_close(workers.cache);
	if (r)
		wrong("the cache cannot be closed: %s", strerror(-r));
}

static void draw_fault_profile(uint64_t *random)
{
	static const unsigned rate[] = {0, 300, 3000, 12000};

	if (workers.faults) {
		sim_fail_randomly(workers.sim, SIM_READ, rate[below(random, 3)], EIO);
		sim_fail_randomly(workers.sim, SIM_WRITE, rate[below(random, 4)],
			below(random, 2) ? EIO : ENOSPC);
		sim_fail_randomly(workers.sim, SIM_TRUNCATE, rate[below(random, 4)], EIO);
		sim_fail_randomly(workers.sim, SIM_PUNCH, rate[below(random, 4)], EIO);
	}
	if (workers.cuts && below(random, 2))
		sim_cut_at(workers.sim, 1 + below(random, 400));
}

/* No thread is running, nothing fails, and all failures have been reported to the cache. */
static void check_reported(void)
{
	bool failures = sim_failed_idle(workers.disk, SIM_WRITE) != workers.failed_before;
	unsigned i;
	int r;

	for (i = 0; i < HANDLES; i++) {
		unsigned reported = atomic_load(&workers.reported[i]);

		if (!failures && reported)
			wrong("nothing failed, but handle %u reported an error", i);
		r = folio_file_sync(workers.file[i], NULL, 0);
		if (failures && !reported && !r)
			wrong("handle %u did not report an error of write-back", i);
		if (!failures && r)
			wrong("nothing failed, but a sync returns %s", strerror(-r));
		r = folio_file_sync(workers.file[i], NULL, 0);
		if (r)
			wrong("handle %u reports an error twice: %s", i, strerror(-r));
		atomic_store(&workers.reported[i], 0);
	}
	workers.failed_before = sim_failed_idle(workers.disk, SIM_WRITE);
}

/*
 * Checks what the device has against @least, the oldest write allowed in each sector. @adopt: from
 * now on the device's contents are the only ones allowed.
 */
static void check_sectors(const char *reader, const _Atomic uint32_t *least, bool adopt)
{
	static unsigned char page[FOLIO_PAGE_SIZE];
	uint32_t now = ledger_now(workers.ledger);
	uint64_t i;

	for (i = 0; i < SECTORS_ALL; i++) {
		uint32_t number;

		if (i % SECTORS == 0)
			sim_peek(workers.disk, page, PAGE, i * SECTOR);
		number = ledger_read(
			workers.ledger, reader, page + i % SECTORS * SECTOR, i, i >= SECTORS_BASE);
		if (i >= SECTORS_BASE)
			continue;
		if (!ledger_allows(workers.ledger, number, i, atomic_load(&least[i])))
			wrong("%s finds write %u in sector %llu, which is too old", reader, number,
				(unsigned long long)i);
		if (!adopt)
			continue;
		workers.last[i] = number;
		workers.last_unknown[i] = false;
		ledger_adopt(workers.ledger, i, number, now);
	}
}

/* A cut tears pages, so pages that must come from one write are written again. */
static void mend_shared(void)
{
	unsigned page;

	for (page = MIXED; page < MIXED + SHARED; page++) {
		uint32_t number = ledger_begin(workers.ledger, page * SECTORS, SECTORS);

		if (write_sectors(&worker[0], page * SECTORS, SECTORS, number, false) != SECTORS)
			wrong("a page cannot be written although nothing fails");
		ledger_end(workers.ledger, number, page * SECTORS, SECTORS);
	}
}

static void end_phase(void)
{
	sim_pause(workers.sim, true);
	sim_cut_at(workers.sim, 0);
	sim_wait_idle(workers.sim);
	if (sim_is_cut(workers.sim)) {
		workers.totals.cuts++;
		close_all(true);
		sim_restore(workers.sim);
		if (sim_size(workers.disk) < BASE * PAGE)
			wrong("the file lost pages that it always had");
		check_sectors("after a power cut the device", workers.ledger->synced, true);
		open_all();
		mend_shared();
		workers.failed_before = sim_failed_idle(workers.disk, SIM_WRITE);
		memset((void *)workers.reported, 0, sizeof(workers.reported));
	} else {
		check_reported();
		if (folio_file_size(workers.file[0]) != sim_size(workers.disk))
			wrong("the file has %llu bytes, the device's %llu",
				(unsigned long long)folio_file_size(workers.file[0]),
				(unsigned long long)sim_size(workers.disk));
		check_sectors("after a sync the device", workers.ledger->floor, false);
	}
	sim_pause(workers.sim, false);
}

static void run_seed(uint64_t seed)
{
	static const unsigned budget[] = {64, 80, 96, 256};
	static const unsigned yields[] = {0, 1, 4, 16};
	static unsigned char zeros[BASE * FOLIO_PAGE_SIZE];
	struct totals totals = workers.totals;
	uint64_t random = seed * 2 + 1, i;
	unsigned phases = 6;

	memset(&workers, 0, sizeof(workers));
	workers.totals = totals;
	workers.seed = seed;
	workers.threads = options.threads ? options.threads : 2 + (unsigned)below(&random, 5);
	workers.faults = seed & 1;
	workers.cuts = seed & 2;
	workers.operations = options.operations / phases / workers.threads + 1;
	workers.ledger = must(calloc(1, sizeof(*workers.ledger)));
	ledger_init(workers.ledger);
	workers.sim = sim_new(next_random(&random), SIM_THREAD);
	sim_set_delay(workers.sim, yields[below(&random, 4)]);
	sim_set_no_holes(workers.sim, below(&random, 4) == 0);
	workers.disk = sim_add(workers.sim, "a", zeros, sizeof(zeros));
	workers.params = (struct folio_cache_params){
		.size = sizeof(workers.params),
		.bytes = budget[below(&random, 4)] * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.dirty_bytes = below(&random, 2) ? 8 * PAGE : 0,
		.dirty_age_ms = below(&random, 2) ? 1 : UINT32_MAX,
		.io = &sim_ops,
		.io_context = workers.sim,
		.closed_files_max = below(&random, 2),
	};
	open_all();
	for (workers.phase = 0; workers.phase < phases; workers.phase++) {
		alarm(HANG_SECONDS);
		draw_fault_profile(&random);
		for (i = 0; i < workers.threads; i++) {
			worker[i].number = (unsigned)i;
			worker[i].random = next_random(&random);
			if (pthread_create(&worker[i].thread, NULL, run_worker, &worker[i])) {
				fprintf(stderr, "workers: no thread\n");
				exit(3);
			}
		}
		for (i = 0; i < workers.threads; i++)
			pthread_join(worker[i].thread, NULL);
		end_phase();
		workers.totals.phases++;
	}
	sim_pause(workers.sim, true);
	close_all(false);
	check_sectors("after the last close the device", workers.ledger->floor, false);
	for (i = 0; i < SIM_OPS; i++)
		workers.totals.failed += sim_injected(workers.sim, (enum sim_op)i);
	sim_free(workers.sim);
	free(workers.ledger);
	alarm(0);
}

static uint64_t number(const char *name, const char *value)
{
	char *end;
	uint64_t n = value ? strtoull(value, &end, 0) : 0;

	if (!value || end == value || *end) {
		fprintf(stderr, "workers: %s needs a number\n", name);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	const char *seed = getenv("FOLIO_SEED");
	uint64_t i;
	unsigned k;
	int a;

	options.seed = seed ? strtoull(seed, NULL, 0)
			    : (uint64_t)time(NULL) * 1000003 % 1000000000 + (uint64_t)getpid();
	for (a = 1; a < argc; a += 2) {
		if (strcmp(argv[a], "--seed") == 0) {
			options.seed = number(argv[a], argv[a + 1]);
		} else if (strcmp(argv[a], "--seeds") == 0) {
			options.seeds = number(argv[a], argv[a + 1]);
		} else if (strcmp(argv[a], "--operations") == 0) {
			options.operations = number(argv[a], argv[a + 1]);
		} else if (strcmp(argv[a], "--threads") == 0) {
			options.threads = (unsigned)number(argv[a], argv[a + 1]);
			if (options.threads < 1 || options.threads > THREADS_MAX) {
				fprintf(stderr, "workers: 1 to %d threads\n", THREADS_MAX);
				return 2;
			}
		} else {
			fprintf(stderr,
				"workers [--seed N] [--seeds N] [--operations N] [--threads N]\n");
			return 2;
		}
	}
	printf("workers: seed %llu\n", (unsigned long long)options.seed);
	fflush(stdout);
	signal(SIGALRM, hang);
	for (i = 0; i < options.seeds; i++)
		run_seed(options.seed + i);
	for (k = 0; k < THREADS_MAX; k++) {
		workers.totals.reads += worker[k].totals.reads;
		workers.totals.writes += worker[k].totals.writes;
		workers.totals.syncs += worker[k].totals.syncs;
		workers.totals.syncs_failed += worker[k].totals.syncs_failed;
	}
	printf("workers: seeds %llu..%llu: %llu phases, %llu reads, %llu writes, "
	       "%llu syncs (%llu failed), %llu power cuts, %llu failures, %llu evictions; "
	       "no violations\n",
		(unsigned long long)options.seed,
		(unsigned long long)(options.seed + options.seeds - 1),
		(unsigned long long)workers.totals.phases, (unsigned long long)workers.totals.reads,
		(unsigned long long)workers.totals.writes, (unsigned long long)workers.totals.syncs,
		(unsigned long long)workers.totals.syncs_failed,
		(unsigned long long)workers.totals.cuts, (unsigned long long)workers.totals.failed,
		(unsigned long long)workers.totals.evictions);
	return 0;
}
