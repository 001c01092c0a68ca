/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * team.c - threads that write one file through several handles, on the simulated device, which fails and loses power.
 *
 * Every sector says which write it is of (ledger.h), and so whether it may be found
 *
 *   by a reader            after what had ended before the read began
 *   by its owner           of a sector that one thread alone writes: exactly the last one
 *   after a power cut      after what had ended before the last sync of 0 began
 *
 * The file:
 *
 *   mixed     each sector of a page is another thread's: threads write to one page side by side
 *   shared    everybody writes whole pages: a reader by copy finds a page of one write
 *   own       some pages for each thread, who makes holes in them, too
 *   tail      the size changes, everybody writes: a sector is the beginning of one write, and zeros
 *
 * The threads work in phases. After each, with nothing failing and nobody about, each handle is asked whether it was told of what
 * had failed: an error that no sync has returned through it comes now, and not a second time.
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
#define SECTORS      (FOLIO_PAGE_SIZE / SECTOR) /* of a page */
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

static struct team {
	uint64_t seed;
	unsigned threads;
	bool faults, cuts;
	struct folio_cache_params params;
	struct sim *sim;
	struct sim_file *disk;
	struct folio_cache *cache;
	struct folio_file *file[HANDLES];
	unsigned phase;
	uint64_t operations; /* of a thread in a phase */

	struct ledger *ledger;
	/* By sector of the mixed and own pages; its owner's. 0: zeros. */
	uint32_t last[SECTORS_ALL];
	bool last_unknown[SECTORS_ALL]; /* or zeros: a hole that failed */

	_Atomic unsigned told[HANDLES]; /* syncs that failed, in the phase */
	uint64_t failed_before;         /* writes, before the phase */
	struct totals totals;
} team;

struct member {
	pthread_t thread;
	unsigned number;
	uint64_t random;
	struct totals totals;
	uint32_t begun[SECTORS_ALL];
	unsigned char buffer[8 * FOLIO_PAGE_SIZE];
};

static struct member member[THREADS_MAX];

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

	printf("team: seed %llu, phase %u: ", (unsigned long long)team.seed, team.phase);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\nAgain: team --seed %llu --operations %llu\n", (unsigned long long)team.seed,
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
		fprintf(stderr, "team: no memory\n");
		exit(3);
	}
	return memory;
}

/* A call has failed: with reason? */
static void failed(const char *what, int64_t r)
{
	if (r == -ENOMEM || ((team.faults || sim_is_cut(team.sim)) && (r == -EIO || r == -ENOSPC)))
		return;
	wrong("%s: %s", what, strerror((int)-r));
}

/* ---- what a thread does ---- */

static unsigned mixed_owner(uint64_t sector)
{
	return (unsigned)(sector % team.threads);
}

/* Pages of the own part, from the first one of thread @number. */
static uint64_t own_page(unsigned number, uint64_t *pages)
{
	*pages = OWN / team.threads;
	return MIXED + SHARED + number * *pages;
}

static bool is_own(const struct member *m, uint64_t sector)
{
	uint64_t pages, first = own_page(m->number, &pages) * SECTORS;

	if (sector < MIXED * SECTORS)
		return mixed_owner(sector) == m->number;
	return sector >= first && sector < first + pages * SECTORS;
}

static struct folio_file *any_file(struct member *m)
{
	return team.file[below(&m->random, HANDLES)];
}

/* By copy, or in place where it is within a page. Returns the sectors that were written. */
static uint64_t write_sectors(
	struct member *m, uint64_t sector, uint64_t sectors, uint32_t number, bool in_place)
{
	struct folio *folio;
	void *page;
	ssize_t n;

	ledger_fill(m->buffer, sectors, number);
	m->totals.writes++;
	if (!in_place) {
		n = folio_file_write(any_file(m), m->buffer, sectors * SECTOR, sector * SECTOR);
		if (n < 0)
			failed("write", n);
		return n < 0 ? 0 : (uint64_t)n / SECTOR;
	}
	n = folio_file_get_page(any_file(m), sector / SECTORS, 0, &folio, &page);
	if (n) {
		failed("get", n);
		return 0;
	}
	n = folio_lock(folio);
	/* Invalidated meanwhile. */
	if (n && n != -ENODATA)
		wrong("lock: %s", strerror((int)-n));
	if (!n) {
		n = folio_mark_dirty(folio, 0);
		if (!n)
			memcpy((char *)page + sector % SECTORS * SECTOR, m->buffer,
				sectors * SECTOR);
		folio_unlock(folio);
	}
	folio_put(folio);
	return n ? 0 : sectors;
}

static void do_write_own(struct member *m)
{
	uint64_t sector, sectors, pages, first, done, i;
	bool in_place = below(&m->random, 4) == 0;
	uint32_t number;

	if (below(&m->random, 2)) {
		sector = below(&m->random, MIXED * SECTORS / team.threads) * team.threads +
			 m->number;
		sectors = 1;
		if (sector >= MIXED * SECTORS)
			return;
	} else {
		first = own_page(m->number, &pages) * SECTORS;
		sector = first + below(&m->random, pages * SECTORS);
		sectors = 1 + below(&m->random, in_place ? SECTORS : 5 * SECTORS);
		if (sectors > first + pages * SECTORS - sector)
			sectors = first + pages * SECTORS - sector;
		if (in_place && sectors > SECTORS - sector % SECTORS)
			sectors = SECTORS - sector % SECTORS;
	}
	number = ledger_begin(team.ledger, sector, sectors);
	done = write_sectors(m, sector, sectors, number, in_place);
	for (i = sector; i < sector + done; i++) {
		team.last[i] = number;
		team.last_unknown[i] = false;
	}
	ledger_end(team.ledger, number, sector, done);
}

static void do_write_shared(struct member *m)
{
	bool in_place = below(&m->random, 4) == 0;
	uint64_t page = MIXED + below(&m->random, SHARED), pages = 1 + below(&m->random, 4);
	uint32_t number;

	if (in_place)
		pages = 1;
	if (pages > MIXED + SHARED - page)
		pages = MIXED + SHARED - page;
	number = ledger_begin(team.ledger, page * SECTORS, pages * SECTORS);
	ledger_end(team.ledger, number, page * SECTORS,
		write_sectors(m, page * SECTORS, pages * SECTORS, number, in_place));
}

static void do_tail(struct member *m)
{
	uint64_t sector = BASE * SECTORS + below(&m->random, TAIL * SECTORS), sectors;
	int r;

	if (below(&m->random, 2)) {
		r = folio_file_truncate(any_file(m), sector * SECTOR + below(&m->random, 64) * 8);
		if (r)
			failed("truncate", r);
		return;
	}
	sectors = 1 + below(&m->random, 3 * SECTORS);
	if (sectors > SECTORS_ALL - sector)
		sectors = SECTORS_ALL - sector;
	write_sectors(m, sector, sectors, ledger_begin(team.ledger, sector, sectors), false);
}

static void do_read(struct member *m)
{
	uint64_t sector = below(&m->random, SECTORS_ALL), sectors, i;
	uint32_t number, first = 0;
	ssize_t n;

	sectors = 1 + below(&m->random, sizeof(m->buffer) / SECTOR);
	if (sectors > SECTORS_ALL - sector)
		sectors = SECTORS_ALL - sector;
	ledger_sync_begin(team.ledger, m->begun, sector, sectors);
	m->totals.reads++;
	n = folio_file_read(any_file(m), m->buffer, sectors * SECTOR, sector * SECTOR);
	if (n < 0) {
		failed("read", n);
		return;
	}
	for (i = sector; i < sector + (uint64_t)n / SECTOR; i++) {
		number = ledger_read(team.ledger, "a read", m->buffer + (i - sector) * SECTOR, i,
			i >= SECTORS_BASE);
		if (i >= SECTORS_BASE)
			continue;
		if (!ledger_allows(team.ledger, number, i, m->begun[i]))
			wrong("a read finds the write %u in sector %llu, after which another ended",
				number, (unsigned long long)i);
		if (is_own(m, i) && number != team.last[i] && !(team.last_unknown[i] && !number))
			wrong("a read finds the write %u in sector %llu, not its owner's last, %u",
				number, (unsigned long long)i, team.last[i]);
		if (i >= MIXED * SECTORS && i < (MIXED + SHARED) * SECTORS) {
			if (i == sector || i % SECTORS == 0)
				first = number;
			if (number != first)
				wrong("a read finds two writes in page %llu",
					(unsigned long long)(i / SECTORS));
		}
	}
}

static void do_punch(struct member *m)
{
	uint64_t pages, first = own_page(m->number, &pages), page, count, i;
	uint32_t number;
	int r;

	page = first + below(&m->random, pages);
	count = 1 + below(&m->random, first + pages - page);
	number = ledger_hole_begin(team.ledger, page * SECTORS, count * SECTORS);
	r = folio_file_punch(any_file(m), page * PAGE, count * PAGE);
	if (r)
		failed("punch", r);
	else
		ledger_hole_end(team.ledger, number, page * SECTORS, count * SECTORS);
	for (i = page * SECTORS; i < (page + count) * SECTORS; i++) {
		/* Perhaps. */
		team.last_unknown[i] = r;
		if (!r)
			team.last[i] = 0;
	}
}

/* A few of those that only this thread writes are on the device, whatever the others do. */
static void check_synced(struct member *m)
{
	unsigned char right[SECTOR];
	unsigned i;

	for (i = 0; i < 16; i++) {
		uint64_t sector = below(&m->random, SECTORS_BASE);

		if (!is_own(m, sector) || team.last_unknown[sector])
			continue;
		ledger_fill(right, 1, team.last[sector]);
		if (!sim_keeps(team.disk, right, SECTOR, sector * SECTOR, NULL) &&
			!sim_is_cut(team.sim))
			wrong("after a sync a power cut can lose sector %llu",
				(unsigned long long)sector);
	}
}

static void do_sync(struct member *m)
{
	unsigned handle = (unsigned)below(&m->random, HANDLES);
	int r;

	ledger_sync_begin(team.ledger, m->begun, 0, SECTORS_BASE);
	m->totals.syncs++;
	r = folio_file_sync(team.file[handle], NULL, below(&m->random, 2) ? FOLIO_SYNC_DATA : 0);
	if (r) {
		failed("sync", r);
		m->totals.syncs_failed++;
		atomic_fetch_add(&team.told[handle], 1);
		return;
	}
	ledger_sync_end(team.ledger, m->begun, 0, SECTORS_BASE);
	check_synced(m);
}

static void *run_member(void *arg)
{
	struct member *m = arg;
	uint64_t i;
	int r = 0;

	for (i = 0; i < team.operations && !sim_is_cut(team.sim); i++) {
		switch (below(&m->random, 32)) {
		case 0 ... 8:
			do_read(m);
			break;
		case 9 ... 17:
			do_write_own(m);
			break;
		case 18 ... 24:
			do_write_shared(m);
			break;
		case 25:
		case 26:
			do_tail(m);
			break;
		case 27:
			do_punch(m);
			break;
		case 28:
			do_sync(m);
			break;
		case 29:
			r = folio_file_invalidate(any_file(m), 0, UINT64_MAX);
			break;
		case 30:
			r = (int)folio_file_prefetch(any_file(m),
				&(struct folio_range){below(&m->random, BASE) * PAGE, 8 * PAGE}, 1);
			break;
		default:
			do_read(m);
		}
		if (r < 0)
			wrong("invalidate or prefetch: %s", strerror(-r));
		if (sim_complaint(team.sim))
			wrong("the backend is asked for what it must not be: %s",
				sim_complaint(team.sim));
	}
	return NULL;
}

/* ---- between the phases ---- */

static void open_all(void)
{
	unsigned i;
	int r;

	r = folio_cache_open(&team.params, &team.cache);
	for (i = 0; !r && i < HANDLES; i++)
		r = folio_file_open(team.cache, "a", O_RDWR, 0, &team.file[i]);
	if (r)
		wrong("open: %s", strerror(-r));
}

static void close_all(bool abandon)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};
	unsigned i;
	int r;

	for (i = 0; i < HANDLES; i++) {
		r = abandon ? folio_file_abandon(team.file[i]) : folio_file_close(team.file[i]);
		if (r && !abandon)
			wrong("close: %s", strerror(-r));
	}
	folio_cache_stats(team.cache, &stats);
	team.totals.evictions += stats.evictions;
	if (stats.pages_dirty || stats.pages_writeback)
		wrong("all files are closed, and pages are dirty");
	r = folio_cache_close(team.cache);
	if (r)
		wrong("the cache cannot be closed: %s", strerror(-r));
}

static void draw_weather(uint64_t *random)
{
	static const unsigned rate[] = {0, 300, 3000, 12000};

	if (team.faults) {
		sim_fail_randomly(team.sim, SIM_READ, rate[below(random, 3)], EIO);
		sim_fail_randomly(team.sim, SIM_WRITE, rate[below(random, 4)],
			below(random, 2) ? EIO : ENOSPC);
		sim_fail_randomly(team.sim, SIM_TRUNCATE, rate[below(random, 4)], EIO);
		sim_fail_randomly(team.sim, SIM_PUNCH, rate[below(random, 4)], EIO);
	}
	if (team.cuts && below(random, 2))
		sim_cut_at(team.sim, 1 + below(random, 400));
}

/* Nobody is about, nothing fails, and what has failed is known. */
static void check_told(void)
{
	bool failures = sim_failed_idle(team.disk, SIM_WRITE) != team.failed_before;
	unsigned i;
	int r;

	for (i = 0; i < HANDLES; i++) {
		unsigned told = atomic_load(&team.told[i]);

		if (!failures && told)
			wrong("nothing failed, and handle %u was told of it", i);
		r = folio_file_sync(team.file[i], NULL, 0);
		if (failures && !told && !r)
			wrong("handle %u was not told of an error of write-back", i);
		if (!failures && r)
			wrong("nothing failed, and a sync says %s", strerror(-r));
		r = folio_file_sync(team.file[i], NULL, 0);
		if (r)
			wrong("handle %u is told twice: %s", i, strerror(-r));
		atomic_store(&team.told[i], 0);
	}
	team.failed_before = sim_failed_idle(team.disk, SIM_WRITE);
}

/* What the device has, by what was the least that it had to have. From here on it is what there is. */
static void check_sectors(const char *who, const _Atomic uint32_t *least, bool adopt)
{
	static unsigned char page[FOLIO_PAGE_SIZE];
	uint32_t now = ledger_now(team.ledger);
	uint64_t i;

	for (i = 0; i < SECTORS_ALL; i++) {
		uint32_t number;

		if (i % SECTORS == 0)
			sim_peek(team.disk, page, PAGE, i * SECTOR);
		number = ledger_read(
			team.ledger, who, page + i % SECTORS * SECTOR, i, i >= SECTORS_BASE);
		if (i >= SECTORS_BASE)
			continue;
		if (!ledger_allows(team.ledger, number, i, atomic_load(&least[i])))
			wrong("%s finds the write %u in sector %llu, which is too old", who, number,
				(unsigned long long)i);
		if (!adopt)
			continue;
		team.last[i] = number;
		team.last_unknown[i] = false;
		ledger_adopt(team.ledger, i, number, now);
	}
}

/* A cut tears pages: those that are to be of one write are written again. */
static void mend_shared(void)
{
	unsigned page;

	for (page = MIXED; page < MIXED + SHARED; page++) {
		uint32_t number = ledger_begin(team.ledger, page * SECTORS, SECTORS);

		if (write_sectors(&member[0], page * SECTORS, SECTORS, number, false) != SECTORS)
			wrong("a page cannot be written, though nothing fails");
		ledger_end(team.ledger, number, page * SECTORS, SECTORS);
	}
}

static void end_phase(void)
{
	sim_pause(team.sim, true);
	sim_cut_at(team.sim, 0);
	sim_wait_idle(team.sim);
	if (sim_is_cut(team.sim)) {
		team.totals.cuts++;
		close_all(true);
		sim_restore(team.sim);
		if (sim_size(team.disk) < BASE * PAGE)
			wrong("the file lost what it always had");
		check_sectors("after a power cut the device", team.ledger->synced, true);
		open_all();
		mend_shared();
		team.failed_before = sim_failed_idle(team.disk, SIM_WRITE);
		memset((void *)team.told, 0, sizeof(team.told));
	} else {
		check_told();
		if (folio_file_size(team.file[0]) != sim_size(team.disk))
			wrong("the file has %llu bytes, the device's %llu",
				(unsigned long long)folio_file_size(team.file[0]),
				(unsigned long long)sim_size(team.disk));
		check_sectors("after a sync the device", team.ledger->floor, false);
	}
	sim_pause(team.sim, false);
}

static void run_seed(uint64_t seed)
{
	static const unsigned budget[] = {64, 80, 96, 256};
	static const unsigned yields[] = {0, 1, 4, 16};
	static unsigned char zeros[BASE * FOLIO_PAGE_SIZE];
	struct totals totals = team.totals;
	uint64_t random = seed * 2 + 1, i;
	unsigned phases = 6;

	memset(&team, 0, sizeof(team));
	team.totals = totals;
	team.seed = seed;
	team.threads = options.threads ? options.threads : 2 + (unsigned)below(&random, 5);
	team.faults = seed & 1;
	team.cuts = seed & 2;
	team.operations = options.operations / phases / team.threads + 1;
	team.ledger = must(calloc(1, sizeof(*team.ledger)));
	ledger_init(team.ledger);
	team.sim = sim_new(next_random(&random), SIM_THREAD);
	sim_set_delay(team.sim, yields[below(&random, 4)]);
	sim_set_no_holes(team.sim, below(&random, 4) == 0);
	team.disk = sim_add(team.sim, "a", zeros, sizeof(zeros));
	team.params = (struct folio_cache_params){
		.size = sizeof(team.params),
		.bytes = budget[below(&random, 4)] * PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES,
		.dirty_bytes = below(&random, 2) ? 8 * PAGE : 0,
		.dirty_age_ms = below(&random, 2) ? 1 : UINT32_MAX,
		.io = &sim_ops,
		.io_context = team.sim,
	};
	open_all();
	for (team.phase = 0; team.phase < phases; team.phase++) {
		alarm(HANG_SECONDS);
		draw_weather(&random);
		for (i = 0; i < team.threads; i++) {
			member[i].number = (unsigned)i;
			member[i].random = next_random(&random);
			if (pthread_create(&member[i].thread, NULL, run_member, &member[i])) {
				fprintf(stderr, "team: no thread\n");
				exit(3);
			}
		}
		for (i = 0; i < team.threads; i++)
			pthread_join(member[i].thread, NULL);
		end_phase();
		team.totals.phases++;
	}
	sim_pause(team.sim, true);
	close_all(false);
	check_sectors("after the last close the device", team.ledger->floor, false);
	for (i = 0; i < SIM_OPS; i++)
		team.totals.failed += sim_injected(team.sim, (enum sim_op)i);
	sim_free(team.sim);
	free(team.ledger);
	alarm(0);
}

static uint64_t number(const char *name, const char *value)
{
	char *end;
	uint64_t n = value ? strtoull(value, &end, 0) : 0;

	if (!value || end == value || *end) {
		fprintf(stderr, "team: a number is wrong after %s\n", name);
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
				fprintf(stderr, "team: 1 to %d threads\n", THREADS_MAX);
				return 2;
			}
		} else {
			fprintf(stderr,
				"team [--seed N] [--seeds N] [--operations N] [--threads N]\n");
			return 2;
		}
	}
	printf("team: seed %llu\n", (unsigned long long)options.seed);
	fflush(stdout);
	signal(SIGALRM, hang);
	for (i = 0; i < options.seeds; i++)
		run_seed(options.seed + i);
	for (k = 0; k < THREADS_MAX; k++) {
		team.totals.reads += member[k].totals.reads;
		team.totals.writes += member[k].totals.writes;
		team.totals.syncs += member[k].totals.syncs;
		team.totals.syncs_failed += member[k].totals.syncs_failed;
	}
	printf("team: seeds %llu..%llu: %llu phases, %llu reads, %llu writes, %llu syncs, of which "
	       "%llu "
	       "failed, %llu power cuts, %llu failures, %llu evictions; all as it has to be\n",
		(unsigned long long)options.seed,
		(unsigned long long)(options.seed + options.seeds - 1),
		(unsigned long long)team.totals.phases, (unsigned long long)team.totals.reads,
		(unsigned long long)team.totals.writes, (unsigned long long)team.totals.syncs,
		(unsigned long long)team.totals.syncs_failed, (unsigned long long)team.totals.cuts,
		(unsigned long long)team.totals.failed, (unsigned long long)team.totals.evictions);
	return 0;
}
