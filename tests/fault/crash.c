/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crash.c - kills (SIGKILL) a program that writes a file of a real file system through the cache
 * under load, again and again. Synced data must be in the file, and the file may hold only data
 * that was written.
 *
 * The threads of the victim write, make holes and sync. They record their work in a ledger
 * (ledger.h) that they share with the parent. The parent kills the victim after a random number of
 * writes and then checks the file; the next victim continues with the same file. A second file,
 * which victims only read, must not change. A kernel keeps the data that it accepted from a killed
 * process, so this program does not show the effect of a power cut; the simulator does.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <folio/cache.h>

#include "ledger.h"

#define PAGE         ((uint64_t)FOLIO_PAGE_SIZE)
#define SECTORS      (FOLIO_PAGE_SIZE / SECTOR) /* per page */
#define BASE         160u                       /* pages that always exist */
#define TAIL         64u                        /* pages after them, where the size changes */
#define SECTORS_BASE (BASE * SECTORS)
#define SECTORS_ALL  ((BASE + TAIL) * SECTORS)
#define GUARD        16u /* pages of the second file */
#define THREADS      4
#define HANG_SECONDS 120

static struct {
	uint64_t seed, rounds;
	const char *folder;
} options = {.rounds = 24, .folder = "."};

static struct {
	struct ledger ledger;
	_Atomic uint64_t syncs;
} * shared;

static uint64_t round_now;
static pid_t parent;
static char path[2][4096];

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

/* Leaves the files behind for inspection. */
void ledger_wrong(const char *format, ...)
{
	va_list args;

	printf("crash: seed %llu, round %llu, %s: ", (unsigned long long)options.seed,
		(unsigned long long)round_now,
		getpid() == parent ? "after the kill" : "the victim");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\nAgain: crash --seed %llu --rounds %llu\n", (unsigned long long)options.seed,
		(unsigned long long)options.rounds);
	fflush(stdout);
	_exit(1);
}

static void hang(int signal)
{
	(void)signal;
	ledger_wrong("no end after %d seconds", HANG_SECONDS);
}

/* ---- the victim ---- */

static struct folio_cache *cache;
static struct folio_file *file[2], *guard;

struct worker {
	pthread_t thread;
	uint64_t random;
	uint32_t begun[SECTORS_ALL];
	unsigned char buffer[8 * FOLIO_PAGE_SIZE];
};

static void check_result(const char *what, int64_t r)
{
	/* The other threads may hold all pages for a moment. */
	if (r < 0 && r != -ENOMEM)
		ledger_wrong("%s: %s", what, strerror((int)-r));
}

static void write_some(struct worker *w)
{
	bool in_place = below(&w->random, 4) == 0, tail = below(&w->random, 8) == 0;
	uint64_t sector = tail ? SECTORS_BASE + below(&w->random, TAIL * SECTORS)
			       : below(&w->random, SECTORS_BASE);
	uint64_t sectors = 1 + below(&w->random, sizeof(w->buffer) / SECTOR);
	uint64_t end = tail ? SECTORS_ALL : SECTORS_BASE, done = 0;
	struct folio *folio;
	uint32_t number;
	void *page;
	ssize_t n;

	if (sectors > end - sector)
		sectors = end - sector;
	if (in_place && sectors > SECTORS - sector % SECTORS)
		sectors = SECTORS - sector % SECTORS;
	number = ledger_begin(&shared->ledger, sector, sectors);
	ledger_fill(w->buffer, sectors, number);
	if (in_place && !tail) {
		n = folio_file_get_page(file[0], sector / SECTORS, 0, &folio, &page);
		check_result("get", n);
		if (n)
			return;
		n = folio_lock(folio);
		if (!n) {
			n = folio_mark_dirty(folio, 0);
			if (!n)
				memcpy((char *)page + sector % SECTORS * SECTOR, w->buffer,
					sectors * SECTOR);
			folio_unlock(folio);
			done = n ? 0 : sectors;
		}
		folio_put(folio);
	} else {
		n = folio_file_write(
			file[below(&w->random, 2)], w->buffer, sectors * SECTOR, sector * SECTOR);
		check_result("write", n);
		done = n < 0 ? 0 : (uint64_t)n / SECTOR;
	}
	if (!tail)
		ledger_end(&shared->ledger, number, sector, done);
}

static void sync_some(struct worker *w)
{
	uint64_t page = 0, pages = BASE;
	struct folio_range range;
	bool all = below(&w->random, 2);
	int r;

	if (!all) {
		page = below(&w->random, BASE);
		pages = 1 + below(&w->random, BASE - page);
	}
	range = (struct folio_range){page * PAGE, pages * PAGE};
	ledger_sync_begin(&shared->ledger, w->begun, page * SECTORS, pages * SECTORS);
	r = folio_file_sync(file[below(&w->random, 2)], all ? NULL : &range,
		below(&w->random, 2) ? FOLIO_SYNC_DATA : 0);
	check_result("sync", r);
	if (!r) {
		ledger_sync_end(&shared->ledger, w->begun, page * SECTORS, pages * SECTORS);
		atomic_fetch_add(&shared->syncs, 1);
	}
}

static void punch_some(struct worker *w)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	uint64_t page = below(&w->random, BASE - 8), pages = 1 + below(&w->random, 8);
	uint32_t number;
	int r;

	/* One hole at a time: the ledger cannot record two open holes that overlap. */
	pthread_mutex_lock(&one);
	number = ledger_hole_begin(&shared->ledger, page * SECTORS, pages * SECTORS);
	r = folio_file_punch(file[0], page * PAGE, pages * PAGE);
	check_result("punch", r);
	if (!r)
		ledger_hole_end(&shared->ledger, number, page * SECTORS, pages * SECTORS);
	pthread_mutex_unlock(&one);
}

static void read_some(struct worker *w)
{
	uint64_t sector = below(&w->random, SECTORS_BASE), sectors, i;
	ssize_t n;

	sectors = 1 + below(&w->random, sizeof(w->buffer) / SECTOR);
	if (sectors > SECTORS_BASE - sector)
		sectors = SECTORS_BASE - sector;
	ledger_sync_begin(&shared->ledger, w->begun, sector, sectors);
	n = folio_file_read(file[0], w->buffer, sectors * SECTOR, sector * SECTOR);
	check_result("read", n);
	for (i = sector; n > 0 && i < sector + (uint64_t)n / SECTOR; i++)
		if (!ledger_allows(&shared->ledger,
			    ledger_read(&shared->ledger, "a read",
				    w->buffer + (i - sector) * SECTOR, i, false),
			    i, w->begun[i]))
			ledger_wrong("a read finds an older write in sector %llu",
				(unsigned long long)i);
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;

	for (;;) {
		switch (below(&w->random, 32)) {
		case 0 ... 15:
			write_some(w);
			break;
		case 16 ... 23:
			read_some(w);
			break;
		case 24:
		case 25:
			sync_some(w);
			break;
		case 26:
			punch_some(w);
			break;
		case 27:
			check_result("truncate", folio_file_truncate(file[1],
							 (BASE + below(&w->random, TAIL)) * PAGE +
								 below(&w->random, 512) * 8));
			break;
		case 28:
			check_result("invalidate", folio_file_invalidate(file[0], 0, UINT64_MAX));
			break;
		default:
			check_result("read", folio_file_read(guard, w->buffer, 100,
						     below(&w->random, GUARD) * PAGE));
		}
	}
	return NULL;
}

static _Noreturn void be_victim(uint64_t random)
{
	static const unsigned budget[] = {64, 96, 512};
	struct folio_cache_params params = {
		.size = sizeof(params),
		.bytes = budget[below(&random, 3)] * PAGE,
		.flags = below(&random, 2) ? FOLIO_CACHE_BUFFERED : 0,
		.io = below(&random, 2) ? &folio_io_threads : NULL,
		.dirty_bytes = below(&random, 2) ? 8 * PAGE : 0,
		.dirty_age_ms = below(&random, 2) ? 1 : 0,
	};
	static struct worker worker[THREADS];
	unsigned i;

	/* Do not outlive the parent for long. */
	alarm(HANG_SECONDS);
	check_result("cache_open", folio_cache_open(&params, &cache));
	for (i = 0; i < 2; i++)
		check_result("open", folio_file_open(cache, path[0], O_RDWR, 0, &file[i]));
	check_result("open", folio_file_open(cache, path[1], O_RDONLY, 0, &guard));
	for (i = 0; i < THREADS; i++) {
		worker[i].random = next_random(&random);
		if (i && pthread_create(&worker[i].thread, NULL, run_worker, &worker[i]))
			ledger_wrong("no thread");
	}
	run_worker(&worker[0]);
	_exit(3);
}

/* ---- the parent ---- */

static void check(int fd, int guard_fd, const unsigned char *guarded)
{
	static unsigned char bytes[SECTORS_ALL * SECTOR];
	uint32_t now = ledger_now(&shared->ledger);
	uint64_t i;
	ssize_t n;

	memset(bytes, 0, sizeof(bytes));
	n = pread(fd, bytes, sizeof(bytes), 0);
	if (n < (ssize_t)(BASE * PAGE))
		ledger_wrong("the file has %zd bytes", n);
	for (i = 0; i < SECTORS_ALL; i++) {
		uint32_t number = ledger_read(
			&shared->ledger, "the file", bytes + i * SECTOR, i, i >= SECTORS_BASE);

		if (i >= SECTORS_BASE)
			continue;
		if (!ledger_allows(
			    &shared->ledger, number, i, atomic_load(&shared->ledger.synced[i])))
			ledger_wrong(
				"sector %llu comes from write %u, which is older than a synced one",
				(unsigned long long)i, number);
		ledger_adopt(&shared->ledger, i, number, now);
	}
	if (pread(guard_fd, bytes, sizeof(bytes), 0) != (ssize_t)(GUARD * PAGE) ||
		memcmp(bytes, guarded, GUARD * PAGE) != 0)
		ledger_wrong("a file that was only read has changed");
}

static int make_file(char *name, const void *bytes, size_t len)
{
	int fd;

	snprintf(name, sizeof(path[0]), "%s/folio-crash-XXXXXX", options.folder);
	fd = mkstemp(name);
	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len) {
		perror("crash");
		exit(3);
	}
	return fd;
}

static uint64_t number_of(const char *name, const char *value)
{
	char *end;
	uint64_t n = value ? strtoull(value, &end, 0) : 0;

	if (!value || end == value || *end) {
		fprintf(stderr, "crash: %s needs a number\n", name);
		exit(2);
	}
	return n;
}

static void parse(int argc, char **argv)
{
	const char *seed = getenv("FOLIO_SEED");
	int a;

	options.seed = seed ? strtoull(seed, NULL, 0)
			    : (uint64_t)time(NULL) * 1000003 % 1000000000 + (uint64_t)getpid();
	for (a = 1; a < argc; a += 2) {
		if (strcmp(argv[a], "--seed") == 0) {
			options.seed = number_of(argv[a], argv[a + 1]);
		} else if (strcmp(argv[a], "--rounds") == 0) {
			options.rounds = number_of(argv[a], argv[a + 1]);
		} else if (strcmp(argv[a], "--folder") == 0 && argv[a + 1]) {
			options.folder = argv[a + 1];
		} else {
			fprintf(stderr, "crash [--seed N] [--rounds N] [--folder PATH]\n");
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static unsigned char zeros[BASE * FOLIO_PAGE_SIZE], guarded[GUARD * FOLIO_PAGE_SIZE];
	uint64_t random, i, writes = 0;
	int fd, guard_fd, status;

	parse(argc, argv);
	parent = getpid();
	printf("crash: seed %llu\n", (unsigned long long)options.seed);
	fflush(stdout);
	random = options.seed;
	for (i = 0; i < sizeof(guarded); i++)
		guarded[i] = (unsigned char)next_random(&random);
	shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("crash");
		return 3;
	}
	fd = make_file(path[0], zeros, sizeof(zeros));
	guard_fd = make_file(path[1], guarded, sizeof(guarded));
	signal(SIGALRM, hang);
	for (round_now = 0; round_now < options.rounds; round_now++) {
		uint32_t first, last;
		pid_t victim;

		/* The numbers suffice for a few rounds; then start over with zeros. */
		if (round_now % 64 == 0) {
			if (ftruncate(fd, 0) || pwrite(fd, zeros, sizeof(zeros), 0) < 0)
				ledger_wrong("%s", strerror(errno));
			memset((void *)&shared->ledger, 0, sizeof(shared->ledger));
			ledger_init(&shared->ledger);
		}
		first = shared->ledger.number;
		last = first + 50 + (uint32_t)below(&random, below(&random, 4) ? 3000 : 12000);
		alarm(HANG_SECONDS);
		victim = fork();
		if (victim < 0)
			ledger_wrong("fork: %s", strerror(errno));
		if (victim == 0)
			be_victim(next_random(&random));
		next_random(&random);
		while (atomic_load(&shared->ledger.number) < last) {
			if (waitpid(victim, &status, WNOHANG) == victim)
				ledger_wrong("the victim exited early, status %#x", status);
			sched_yield();
		}
		kill(victim, SIGKILL);
		if (waitpid(victim, &status, 0) != victim || !WIFSIGNALED(status) ||
			WTERMSIG(status) != SIGKILL)
			ledger_wrong("the victim exited early, status %#x", status);
		writes += shared->ledger.number - first;
		check(fd, guard_fd, guarded);
	}
	alarm(0);
	unlink(path[0]);
	unlink(path[1]);
	printf("crash: %llu victims killed, about %llu writes, %llu syncs; no synced data lost\n",
		(unsigned long long)options.rounds, (unsigned long long)writes / 2,
		(unsigned long long)shared->syncs);
	return 0;
}
