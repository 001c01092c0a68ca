/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsx.c - a file exerciser, in the manner of fsx (Apple, NeXT): random operations on one file through the cache,
 * each compared with a model that is plain memory.
 *
 * A seed decides the world (sizes, budget, which operations are likely, who runs the I/O, whether calls fail, whether the
 * power does) and the sequence of operations. The cache runs on the simulator (sim.h), or with --file on
 * a file of the system, which is then compared with what the kernel says it has.
 *
 * What is demanded:
 *   reads       copies and pins have what the model has; a pin nobody wrote to stays as it was
 *   a failure   only where one was injected; it changed nothing, or wrote a prefix
 *   sync        on 0 the file has the model's bytes, and keeps them when the power fails; an error of write-back is told
 *               to each handle once, and not without reason
 *   close       of the last handle, on 0: the file has the model's bytes
 *   power cut   the file is a mixture of what its sectors were since the last sync, and of a size it had since
 *   the log     before_writeback was called with a page's sequence number before the page is written
 *   I/O         the contract of the backend's table (sim_complaint)
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <folio/cache.h>

#include "history.h"
#include "sim.h"

#define PAGE            ((uint64_t)FOLIO_PAGE_SIZE)
#define LENGTH_MAX      (UINT64_C(64) << 10) /* of one operation, mostly */
#define SIZE_MAX_MAX    (UINT64_C(1) << 20)
#define PINS            8
#define HANDLES         2
#define LAST_OPERATIONS 50
/* Without one for so long, what a power cut could leave takes too much memory. */
#define SYNC_AT_LEAST   4000
#define HANG_SECONDS    60

static struct {
	uint64_t seed, operations, seeds, jobs, budget;
	const char *path;
	bool json, no_faults, no_cuts, trace, go_on;
} options = {.operations = 50000, .seeds = 1, .jobs = 1};

/* X(name, weight) */
#define OPERATIONS         \
	X(READ, 12)        \
	X(READ_NOWAIT, 2)  \
	X(PIN, 6)          \
	X(UNPIN, 6)        \
	X(WRITE, 12)       \
	X(WRITE_PINNED, 6) \
	X(APPEND, 2)       \
	X(SHRINK, 2)       \
	X(GROW, 2)         \
	X(PUNCH, 3)        \
	X(SYNC, 1)         \
	X(SYNC_RANGE, 2)   \
	X(REOPEN, 1)       \
	X(REOPEN_ALL, 1)   \
	X(INVALIDATE, 2)   \
	X(REVALIDATE, 1)   \
	X(PREFETCH, 1)     \
	X(ADVISE, 1)

enum kind {
#define X(name, weight) name,
	OPERATIONS
#undef X
		KINDS
};

static const char *const kind_name[] = {
#define X(name, weight) #name,
	OPERATIONS
#undef X
};

static const unsigned kind_weight[] = {
#define X(name, weight) weight,
	OPERATIONS
#undef X
};

/* What was done, for the report. */
struct operation {
	uint64_t number;
	enum kind kind;
	int handle;
	uint64_t offset, len, size; /* the size before it */
	int64_t result;
	const char *note;
};

struct pin {
	struct folio *folio; /* NULL: none */
	void *memory;
	uint64_t index;
	uint64_t len;        /* bytes of it that the file had */
	uint32_t generation; /* of the page, when it was pinned */
	uint64_t sunk;       /* truncated since: so many bytes are to stay as they were */
	unsigned char *copy; /* as it was then */
};

struct handle {
	struct folio_file *file; /* NULL: closed */
	bool writable;
	uint64_t told; /* failed write-backs that it was told of, or that were before its time */
	bool told_unknown;
};

struct totals {
	uint64_t seeds, operations, bytes_read, bytes_written, cuts, failed_calls, abandoned,
		injected, writes, evictions, differences, count[KINDS];
};

static struct world {
	uint64_t seed, random;
	/* The world, as the seed has it. */
	uint64_t max, pages;
	unsigned weight[KINDS], weights;
	bool faults, cuts, sequences, tracks;
	struct folio_cache_params params;
	enum sim_mode mode;

	struct sim *sim; /* NULL: a file of the system */
	struct sim_file *disk;
	int view; /* the kernel's */
	struct folio_cache *cache;
	struct handle handle[HANDLES];
	struct pin pin[PINS];

	/* The model: zeros behind the end. */
	unsigned char *model;
	uint64_t size;
	uint32_t *generation;     /* by page: changes of it */
	struct history *history;  /* since the last sync; NULL: nothing can be lost */
	uint64_t size_min;        /* the least that the file may have */
	bool poisoned;            /* a sync failed: what it had to make last may be lost for good */
	bool forgot;              /* likewise, until the power comes back */
	bool sync_failed;         /* and says so until all have closed the file */
	uint64_t callback_failed; /* write-backs that before_writeback refused */

	/* By page: what before_writeback must have seen before it is written; stored under the folio's lock. */
	_Atomic uint64_t *sequence;
	_Atomic uint64_t sequence_flushed;
	uint64_t sequence_last;
	_Atomic uint64_t sequence_bad; /* 1 + page that was written too early */
	bool callback_refuses;

	struct operation last[LAST_OPERATIONS];
	struct operation *now;
	uint64_t operation, last_sync, quiet_until;
	bool quiet;
	unsigned char *buffer;

	struct totals totals;
	pthread_t thread;
	jmp_buf out;
} world;

#define SIM_NAME "file"

/* ---- random ---- */

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t below(struct world *w, uint64_t limit)
{
	return limit ? next_random(&w->random) % limit : 0;
}

static bool one_in(struct world *w, uint64_t n)
{
	return below(w, n) == 0;
}

static void *must(void *memory)
{
	if (!memory) {
		fprintf(stderr, "fsx: no memory\n");
		exit(3);
	}
	return memory;
}

/* ---- reports ---- */

static void print_last(const struct world *w)
{
	uint64_t from = w->operation > LAST_OPERATIONS ? w->operation - LAST_OPERATIONS : 0, i;

	printf("The last operations (number, handle, range, size before, result):\n");
	for (i = from; i < w->operation; i++) {
		const struct operation *op = &w->last[i % LAST_OPERATIONS];

		printf("  %8llu %-12s h%d  %#9llx + %#-8llx size %#9llx  %lld%s%s\n",
			(unsigned long long)op->number, kind_name[op->kind], op->handle,
			(unsigned long long)op->offset, (unsigned long long)op->len,
			(unsigned long long)op->size, (long long)op->result, op->note ? "  " : "",
			op->note ? op->note : "");
	}
}

static void print_bytes(const char *what, const unsigned char *bytes, size_t len)
{
	size_t i;

	printf("  %-9s", what);
	for (i = 0; i < len && i < 24; i++)
		printf(" %02x", bytes[i]);
	printf("\n");
}

static __attribute__((format(printf, 2, 3), noreturn)) void differ(
	struct world *w, const char *format, ...)
{
	va_list args;

	printf("fsx: seed %llu, operation %llu: ", (unsigned long long)w->seed,
		(unsigned long long)w->operation);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	print_last(w);
	printf("Again: fsx --seed %llu --operations %llu%s%s%s%s\n", (unsigned long long)w->seed,
		(unsigned long long)options.operations, options.no_faults ? " --no-faults" : "",
		options.no_cuts ? " --no-cuts" : "", options.path ? " --file " : "",
		options.path ? options.path : "");
	fflush(stdout);
	w->totals.differences++;
	longjmp(w->out, 1);
}

/* Equal to the model, or a report. */
static void compare(
	struct world *w, const char *what, const void *found, uint64_t offset, size_t len)
{
	const unsigned char *bytes = found, *right = w->model + offset;
	size_t i = 0, n = 0, k;

	if (memcmp(bytes, right, len) == 0)
		return;
	while (bytes[i] == right[i])
		i++;
	for (k = i; k < len; k++)
		n += bytes[k] != right[k];
	printf("fsx: %s at %#llx (page %llu, byte %llu of it), %zu bytes differ of the %zu from "
	       "there:\n",
		what, (unsigned long long)(offset + i), (unsigned long long)((offset + i) / PAGE),
		(unsigned long long)((offset + i) % PAGE), n, len - i);
	print_bytes("expected", right + i, len - i);
	print_bytes("found", bytes + i, len - i);
	differ(w, "%s differs at %#llx", what, (unsigned long long)(offset + i));
}

static void hang(int signal)
{
	static const char text[] = "fsx: hangs\n";
	static uint64_t seen = UINT64_MAX;
	struct world *w = &world;

	(void)signal;
	/* Slow is not dead. */
	if (w->operation != seen) {
		seen = w->operation;
		alarm(HANG_SECONDS);
		return;
	}
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(1);
	printf("fsx: seed %llu, operation %llu: no progress for %d seconds\n",
		(unsigned long long)w->seed, (unsigned long long)w->operation, HANG_SECONDS);
	print_last(w);
	fflush(stdout);
	abort();
}

/* ---- failures ---- */

static bool is_cut(struct world *w)
{
	return w->cuts && sim_is_cut(w->sim);
}

/* Nothing fails from here on, and what has failed is known. */
static void pause_faults(struct world *w)
{
	if (!w->sim)
		return;
	sim_pause(w->sim, true);
	w->callback_refuses = false;
	sim_wait_idle(w->sim);
}

static void resume_faults(struct world *w)
{
	if (w->sim)
		sim_pause(w->sim, !w->faults || w->quiet);
	w->callback_refuses = w->faults && w->sequences && !w->quiet;
}

/* A call has failed. There must be a reason. */
static void failed(struct world *w, int64_t r, const char *what)
{
	w->totals.failed_calls++;
	if (is_cut(w))
		return;
	if (w->faults && (r == -EIO || r == -ENOSPC || r == -ENOMEM || r == -EDQUOT || r == -EPERM))
		return;
	differ(w, "%s failed: %s", what, strerror((int)-r));
}

/* Write-backs that failed until now, as each handle is to be told; with @idle the cache knows of all of them. */
static uint64_t failures(struct world *w, bool idle)
{
	if (!w->sim || !w->disk)
		return 0;
	return (idle ? sim_failed_idle : sim_failed)(w->disk, SIM_WRITE) +
	       sim_failed(w->disk, SIM_SYNC) + w->callback_failed;
}

static int before_writeback(void *context, uint64_t sequence)
{
	struct world *w = context;
	uint64_t flushed = atomic_load(&w->sequence_flushed);

	/* On this thread only, so that the count of failures is exact. */
	if (pthread_equal(pthread_self(), w->thread) && w->callback_refuses && one_in(w, 64)) {
		w->callback_failed++;
		return -EIO;
	}
	while (flushed < sequence &&
		!atomic_compare_exchange_weak(&w->sequence_flushed, &flushed, sequence))
		continue;
	return 0;
}

static void observe_write(void *arg, struct sim_file *file, uint64_t offset, uint64_t len)
{
	struct world *w = arg;
	uint64_t page, flushed = atomic_load(&w->sequence_flushed);

	for (page = offset / PAGE; page * PAGE < offset + len; page++)
		if (atomic_load_explicit(&w->sequence[page], memory_order_relaxed) > flushed)
			atomic_store(&w->sequence_bad, page + 1);
}

/* ---- the model ---- */

/* Bytes of the model have changed. */
static void changed(struct world *w, uint64_t offset, uint64_t len)
{
	uint64_t page;

	if (!len)
		return;
	for (page = offset / PAGE; page * PAGE < offset + len; page++)
		w->generation[page]++;
	if (w->history)
		history_note(w->history, w->model, offset, len);
}

static void set_size(struct world *w, uint64_t size)
{
	w->size = size;
	if (size < w->size_min)
		w->size_min = size;
	if (w->history)
		history_note_size(w->history, size);
}

static void model_write(struct world *w, const void *buf, uint64_t offset, uint64_t len)
{
	memcpy(w->model + offset, buf, len);
	changed(w, offset, len);
	if (offset + len > w->size)
		set_size(w, offset + len);
}

static void model_truncate(struct world *w, uint64_t size)
{
	uint64_t had = w->size, page;
	unsigned i;

	if (size < had) {
		for (i = 0; i < PINS; i++) {
			struct pin *pin = &w->pin[i];
			uint64_t start = pin->index * PAGE;

			/* Of a larger one the part that is left is still the file's, and goes on changing. */
			if (!pin->folio || start < size || start >= had || pin->sunk ||
				w->generation[pin->index] != pin->generation ||
				folio_order(pin->folio) > 0)
				continue;
			pin->sunk = pin->len;
			memcpy(pin->copy, w->model + start, pin->sunk);
		}
		memset(w->model + size, 0, had - size);
		/* The device's own sector is cut at once, whatever it is. */
		if (w->history)
			history_cut(w->history, size);
		changed(w, size, had - size);
		if (w->sequence)
			for (page = (size + PAGE - 1) / PAGE; page < w->pages; page++)
				atomic_store(&w->sequence[page], 0);
	}
	set_size(w, size);
}

static void model_punch(struct world *w, uint64_t offset, uint64_t len)
{
	uint64_t page;

	if (offset >= w->size)
		return;
	if (len > w->size - offset)
		len = w->size - offset;
	memset(w->model + offset, 0, len);
	changed(w, offset, len);
	if (w->sequence)
		for (page = (offset + PAGE - 1) / PAGE; (page + 1) * PAGE <= offset + len; page++)
			atomic_store(&w->sequence[page], 0);
}

/* All of the range was made last. */
static void model_synced(struct world *w, uint64_t offset, uint64_t len)
{
	uint64_t end = len > w->size - offset ? w->size : offset + len;

	if (offset == 0 && end == w->size) {
		w->last_sync = w->operation;
		w->size_min = w->size;
		if (w->history && !w->poisoned) {
			history_settle(w->history, w->model, 0, w->max);
			history_settle_size(w->history, w->size);
		}
	} else {
		/* The size is made last as far as the range has data, which the sectors then say. */
		if (w->history && !w->poisoned)
			history_settle(w->history, w->model, offset / PAGE * PAGE,
				(end + PAGE - 1) / PAGE * PAGE - offset / PAGE * PAGE);
	}
}

/* ---- pins ---- */

static void check_pin(struct world *w, struct pin *pin)
{
	if (pin->sunk) {
		if (memcmp(pin->memory, pin->copy, pin->sunk) != 0)
			differ(w, "the pinned page %llu, truncated, has changed",
				(unsigned long long)pin->index);
	} else if (w->generation[pin->index] == pin->generation) {
		compare(w, "a pinned page", pin->memory, pin->index * PAGE, pin->len);
	}
}

static void unpin(struct world *w, struct pin *pin)
{
	if (!pin->folio)
		return;
	check_pin(w, pin);
	folio_put(pin->folio);
	pin->folio = NULL;
}

static void unpin_all(struct world *w)
{
	unsigned i;

	for (i = 0; i < PINS; i++)
		unpin(w, &w->pin[i]);
}

/* ---- the file ---- */

static struct handle *any_handle(struct world *w, bool writable)
{
	unsigned i, first = (unsigned)below(w, HANDLES);

	for (i = 0; i < HANDLES; i++) {
		struct handle *handle = &w->handle[(first + i) % HANDLES];

		if (handle->file && (handle->writable || !writable)) {
			w->now->handle = (int)(handle - w->handle);
			return handle;
		}
	}
	return NULL;
}

static bool nothing_open(const struct world *w)
{
	unsigned i;

	for (i = 0; i < HANDLES; i++)
		if (w->handle[i].file)
			return false;
	return true;
}

static bool open_handle(struct world *w, struct handle *handle, bool writable)
{
	uint64_t before;
	int r;

	before = failures(w, true);
	r = folio_file_open(w->cache, w->sim ? SIM_NAME : options.path,
		writable ? O_RDWR | O_CREAT : O_RDONLY, 0666, &handle->file);
	if (r) {
		handle->file = NULL;
		failed(w, r, "open");
		return false;
	}
	handle->writable = writable;
	if (w->sim && !w->disk)
		w->disk = sim_find(w->sim, SIM_NAME);
	handle->told = before;
	handle->told_unknown = failures(w, false) != before;
	return true;
}

/* What the file has itself equals the model: after a sync, after the last close. */
static void compare_file(struct world *w, const char *when, uint64_t offset, uint64_t len)
{
	uint64_t where = 0, size;
	struct stat stat;
	ssize_t n;

	if (offset >= w->size)
		len = 0;
	else if (len > w->size - offset)
		len = w->size - offset;
	if (!w->sim) {
		if (fstat(w->view, &stat) < 0)
			differ(w, "fstat: %s", strerror(errno));
		size = (uint64_t)stat.st_size;
	} else {
		size = sim_size(w->disk);
	}
	if (len == w->size && size != w->size)
		differ(w, "%s the file has %#llx bytes, expected %#llx", when,
			(unsigned long long)size, (unsigned long long)w->size);
	if (!len)
		return;
	if (w->sim) {
		if (sim_has(w->disk, w->model + offset, len, offset, &where))
			return;
		sim_peek(w->disk, w->buffer, len, offset);
	} else {
		/* Zeros that the file was extended by are not written. */
		n = pread(w->view, w->buffer, len, (off_t)offset);
		if (n < 0 || (len == w->size && n != (ssize_t)len))
			differ(w, "%s the kernel reads %zd bytes of %llu", when, n,
				(unsigned long long)len);
		memset(w->buffer + n, 0, len - (size_t)n);
	}
	compare(w, when, w->buffer, offset, len);
}

/* Take over what there is of the file, where it may be any mixture of what it was. */
static void adopt(struct world *w, struct folio_file *file, bool on_device)
{
	uint64_t size = folio_file_size(file), size_max = 0, at, len, page;
	unsigned i;
	ssize_t n;

	for (i = 0; i < history_sizes(w->history); i++)
		if (history_size(w->history, i) > size_max)
			size_max = history_size(w->history, i);
	if (size < w->size_min || size > size_max)
		differ(w, "the file has %#llx bytes, and had %#llx to %#llx since the last sync",
			(unsigned long long)size, (unsigned long long)w->size_min,
			(unsigned long long)size_max);
	memset(w->buffer, 0, w->max);
	n = folio_file_read(file, w->buffer, size, 0);
	/* The power failed in it: who comes back from that adopts what is there then. */
	if (n != (ssize_t)size && is_cut(w))
		return;
	if (n != (ssize_t)size)
		differ(w, "the file cannot be read: %zd of %#llx bytes", n,
			(unsigned long long)size);
	for (at = 0; at < w->max; at += SECTOR) {
		/* The sector that has the end. Those behind it are zeros, and have to be so by right. */
		len = at < size && size - at < SECTOR ? size - at : SECTOR;
		if (history_allows(w->history, at / SECTOR, w->buffer + at, len))
			continue;
		printf("fsx: sector at %#llx is none of the %u that it was since the last sync:\n",
			(unsigned long long)at, history_versions(w->history, at / SECTOR));
		for (i = 0; i < history_versions(w->history, at / SECTOR) && i < 8; i++)
			print_bytes("had", history_version(w->history, at / SECTOR, i), len);
		print_bytes("found", w->buffer + at, len);
		differ(w, "what survived at %#llx was never there since the last sync",
			(unsigned long long)at);
	}
	for (page = 0; page < w->pages; page++) {
		w->generation[page]++;
		if (w->sequence)
			atomic_store(&w->sequence[page], 0);
	}
	memcpy(w->model, w->buffer, w->max);
	w->size = size;
	if (on_device) {
		w->poisoned = w->forgot = false;
		w->last_sync = w->operation;
		w->size_min = size;
		history_settle(w->history, w->model, 0, w->max);
		history_settle_size(w->history, size);
	} else {
		history_note(w->history, w->model, 0, w->max);
		set_size(w, size);
	}
}

/*
 * Close a handle. The last one writes back; if it cannot, the handle stays open: try again, or give it up, and what is
 * there then is a mixture.
 */
static void close_handle(struct world *w, struct handle *handle)
{
	bool last, dropped = false;
	int r = folio_file_close(handle->file);

	if (r) {
		failed(w, r, "close");
		if (one_in(w, 2) || is_cut(w)) {
			r = folio_file_abandon(handle->file);
			dropped = r != 0;
			if (r)
				failed(w, r, "abandon");
		} else {
			pause_faults(w);
			r = folio_file_close(handle->file);
			/* The power may fail meanwhile. */
			if (r && is_cut(w)) {
				folio_file_abandon(handle->file);
				dropped = true;
			} else if (r) {
				differ(w, "close fails again, though nothing fails any more: %s",
					strerror(-r));
			}
			resume_faults(w);
		}
	}
	handle->file = NULL;
	last = nothing_open(w);
	if (!last)
		return;
	w->sync_failed = false;
	if (is_cut(w))
		return;
	if (!dropped) {
		compare_file(w, "after the last close", 0, UINT64_MAX);
		return;
	}
	w->totals.abandoned++;
	w->now->note = "abandoned";
	pause_faults(w);
	if (!open_handle(w, &w->handle[0], true) || is_cut(w))
		return;
	adopt(w, w->handle[0].file, false);
	resume_faults(w);
}

static bool open_world(struct world *w)
{
	int r;

	w->sync_failed = false;
	r = folio_cache_open(&w->params, &w->cache);
	if (r)
		differ(w, "the cache cannot be opened: %s", strerror(-r));
	return open_handle(w, &w->handle[0], true);
}

static void close_cache(struct world *w)
{
	struct folio_cache_stats stats = {.size = sizeof(stats)};
	int r;

	folio_cache_stats(w->cache, &stats);
	w->totals.writes += stats.writes;
	w->totals.evictions += stats.evictions;
	if (stats.pages_dirty || stats.pages_writeback)
		differ(w, "all files are closed, and %llu pages are dirty, %llu on their way",
			(unsigned long long)stats.pages_dirty,
			(unsigned long long)stats.pages_writeback);
	r = folio_cache_close(w->cache);
	if (r)
		differ(w, "the cache cannot be closed: %s", strerror(-r));
	w->cache = NULL;
}

/* The power has failed. What is left of it all goes, then it comes back. */
static void recover(struct world *w)
{
	unsigned i;

	w->now->note = "power cut";
	w->totals.cuts++;
	for (i = 0; i < PINS; i++) {
		/* What it has is as good as ever. */
		unpin(w, &w->pin[i]);
	}
	for (i = 0; i < HANDLES; i++) {
		if (w->handle[i].file)
			folio_file_abandon(w->handle[i].file);
		w->handle[i].file = NULL;
	}
	close_cache(w);
	sim_restore(w->sim);
	sim_pause(w->sim, true);
	w->callback_refuses = false;
	if (!open_world(w))
		differ(w, "the file cannot be opened after a power cut");
	adopt(w, w->handle[0].file, true);
	resume_faults(w);
}

/* ---- operations ---- */

/* A range to read, write or punch, in a file that may have up to @limit bytes. */
static void choose_range(struct world *w, uint64_t limit, uint64_t *offset, uint64_t *len)
{
	uint64_t end;

	switch (below(w, 8)) {
	case 0:
		*len = 1 + below(w, 64);
		break;
	case 1:
	case 2:
		*len = 1 + below(w, PAGE);
		break;
	case 3:
		*len = PAGE;
		break;
	case 4:
		*len = PAGE * (1 + below(w, LENGTH_MAX / PAGE));
		break;
	case 5:
		*len = 1 + below(w, LENGTH_MAX);
		break;
	default:
		*len = 1 + below(w, 3 * PAGE);
		break;
	}
	switch (below(w, 8)) {
	case 0:
	case 1:
	case 2:
		*offset = below(w, limit + 1) / PAGE * PAGE;
		break;
	case 3: /* Near the end of the file. */
		*offset = w->size > *len ? w->size - *len + below(w, 64) : w->size;
		break;
	case 4: /* Ends near a border. */
		end = (1 + below(w, limit / PAGE)) * PAGE;
		*offset = end > *len ? end - *len : 0;
		break;
	default:
		*offset = below(w, limit + 1);
		break;
	}
	if (*offset > limit)
		*offset = limit;
	if (*len > limit - *offset)
		*len = limit - *offset;
	w->now->offset = *offset;
	w->now->len = *len;
}

static void fill_buffer(struct world *w, uint64_t len)
{
	uint64_t i, word, state = w->random;

	for (i = 0; i < len; i += 8) {
		word = next_random(&state);
		memcpy(w->buffer + i, &word, 8);
	}
	below(w, 2);
}

#define PIECES 40

/* A read in pieces of one call, each of which is as a read of its own. What comes of them together is what one read gives. */
static ssize_t read_in_pieces(
	struct world *w, struct folio_file *file, uint64_t len, uint64_t offset, bool nowait)
{
	struct folio_read reads[PIECES];
	unsigned i, count = 1 + (unsigned)below(w, PIECES);
	uint64_t done = 0;
	int r;

	for (i = 0; i < count; i++) {
		uint64_t from = len * i / count, to = len * (i + 1) / count;

		reads[i] = (struct folio_read){w->buffer + from, to - from, offset + from, 0};
	}
	r = folio_file_read_batch(file, reads, count, nowait ? FOLIO_READ_NOWAIT : 0);
	if (r)
		return r;
	for (i = 0; i < count; i++) {
		if (reads[i].result > 0)
			compare(w, "a read of several", reads[i].buf, reads[i].offset,
				(size_t)reads[i].result);
	}
	for (i = 0; i < count; i++) {
		if (reads[i].result < 0)
			return done ? (ssize_t)done : reads[i].result;
		done += (uint64_t)reads[i].result;
		if ((uint64_t)reads[i].result < reads[i].len)
			break;
	}
	return (ssize_t)done;
}

static void do_read(struct world *w, bool nowait)
{
	struct handle *handle = any_handle(w, false);
	uint64_t offset, len, expected;
	ssize_t n;

	choose_range(w, w->max, &offset, &len);
	if (!handle)
		return;
	expected = offset >= w->size ? 0 : w->size - offset < len ? w->size - offset : len;
	/* Anything but what is to be read. */
	memset(w->buffer, 0x5a, len < 64 ? len : 64);
	if (below(w, 4))
		n = (nowait ? folio_file_read_nowait : folio_file_read)(
			handle->file, w->buffer, len, offset);
	else
		n = read_in_pieces(w, handle->file, len, offset, nowait);
	w->now->result = n;
	if (n < 0) {
		if (!(nowait && n == -EAGAIN))
			failed(w, n, "read");
		return;
	}
	if (n > (ssize_t)expected || (n < (ssize_t)expected && !nowait && !w->faults && !is_cut(w)))
		differ(w, "read %zd bytes, expected %llu", n, (unsigned long long)expected);
	w->totals.bytes_read += (uint64_t)n;
	compare(w, "a read", w->buffer, offset, (size_t)n);
}

static void do_pin(struct world *w)
{
	struct pin *pin = &w->pin[below(w, PINS)];
	uint64_t index = below(w, w->size / PAGE + 2), len;
	struct handle *handle = any_handle(w, false);
	struct folio *folio;
	void *memory;
	int r;

	if (index >= w->pages)
		index = w->pages - 1;
	w->now->offset = index * PAGE;
	w->now->len = PAGE;
	if (!handle)
		return;
	r = folio_file_get_page(handle->file, index, 0, &folio, &memory);
	w->now->result = r;
	if (r == -ENODATA && index * PAGE >= w->size)
		return;
	if (r) {
		failed(w, r, "get");
		return;
	}
	if (index * PAGE >= w->size)
		differ(w, "page %llu is behind the end, and there", (unsigned long long)index);
	len = w->size - index * PAGE < PAGE ? w->size - index * PAGE : PAGE;
	compare(w, "a pinned page", memory, index * PAGE, len);
	unpin(w, pin);
	pin->folio = folio;
	pin->memory = memory;
	pin->index = index;
	pin->len = len;
	pin->generation = w->generation[index];
	pin->sunk = 0;
}

static void do_write(struct world *w, bool append)
{
	struct handle *handle = any_handle(w, true);
	uint64_t offset, len;
	ssize_t n;

	choose_range(w, one_in(w, 4) || append ? w->max : w->size, &offset, &len);
	if (append) {
		offset = w->size;
		if (len > w->max - offset)
			len = w->max - offset;
		w->now->offset = offset;
		w->now->len = len;
	}
	fill_buffer(w, len);
	if (!handle)
		return;
	n = folio_file_write(handle->file, w->buffer, len, offset);
	w->now->result = n;
	if (n < 0) {
		failed(w, n, "write");
		n = 0;
	} else if (n > (ssize_t)len || (n < (ssize_t)len && !w->faults && !is_cut(w))) {
		differ(w, "wrote %zd bytes of %llu", n, (unsigned long long)len);
	}
	w->totals.bytes_written += (uint64_t)n;
	if (n)
		model_write(w, w->buffer, offset, (uint64_t)n);
}

static void do_write_pinned(struct world *w)
{
	struct handle *handle = any_handle(w, true);
	uint64_t index, skip, len, have;
	struct folio *folio;
	void *memory;
	int r;

	index = below(w, (w->size + PAGE - 1) / PAGE);
	skip = below(w, PAGE);
	len = 1 + below(w, PAGE - skip);
	fill_buffer(w, len);
	w->now->offset = index * PAGE + skip;
	w->now->len = len;
	if (!handle || !w->size)
		return;
	r = folio_file_get_page(handle->file, index, 0, &folio, &memory);
	w->now->result = r;
	if (r) {
		failed(w, r, "get");
		return;
	}
	r = folio_lock(folio);
	if (r)
		differ(w, "a page that was just pinned cannot be locked: %s", strerror(-r));
	/* Also behind the end: that is never written, and zeros when the file grows. */
	memcpy((char *)memory + skip, w->buffer, len);
	if (w->sequence)
		atomic_store(&w->sequence[index], ++w->sequence_last);
	r = folio_mark_dirty(folio, w->sequence ? w->sequence_last : 0);
	if (r)
		differ(w, "a locked page cannot be marked dirty: %s", strerror(-r));
	folio_unlock(folio);
	folio_put(folio);
	have = w->size - index * PAGE;
	if (skip < have)
		model_write(
			w, w->buffer, index * PAGE + skip, len < have - skip ? len : have - skip);
	w->totals.bytes_written += len;
}

static void do_truncate(struct world *w, bool grow)
{
	struct handle *handle = any_handle(w, true);
	uint64_t size;
	int r;

	size = grow ? w->size + below(w, w->max - w->size + 1) : below(w, w->size + 1);
	if (one_in(w, 3))
		size = size / PAGE * PAGE;
	/* Small steps, too. */
	if (!grow && w->size && one_in(w, 2))
		size = w->size - 1 - below(w, w->size < 2 * PAGE ? w->size : 2 * PAGE);
	w->now->offset = size;
	if (!handle)
		return;
	r = folio_file_truncate(handle->file, size);
	w->now->result = r;
	if (!r) {
		model_truncate(w, size);
		return;
	}
	failed(w, r, "truncate");
	/* Power that fails in it: it may have happened. */
	if (is_cut(w)) {
		uint64_t had = w->size;

		model_truncate(w, size);
		set_size(w, had);
	}
}

/* It failed: of each page either all of it happened, or nothing. Which, we have to read. */
static void look_at_hole(struct world *w, struct handle *handle, uint64_t offset, uint64_t len)
{
	uint64_t at, part, end = offset + len < w->size ? offset + len : w->size;
	unsigned char *page = w->buffer;

	if (is_cut(w)) {
		model_punch(w, offset, len);
		return;
	}
	pause_faults(w);
	for (at = offset; at < end; at += part) {
		part = PAGE - at % PAGE < end - at ? PAGE - at % PAGE : end - at;
		if (folio_file_read(handle->file, page, part, at) != (ssize_t)part) {
			if (is_cut(w)) {
				model_punch(w, offset, len);
				break;
			}
			differ(w, "what a failed punch left cannot be read");
		}
		if (memcmp(page, w->model + at, part) != 0)
			model_punch(w, at, part);
		compare(w, "what a failed punch left", page, at, part);
	}
	resume_faults(w);
}

static void do_punch(struct world *w)
{
	struct handle *handle = any_handle(w, true);
	uint64_t offset, len;
	int r;

	choose_range(w, one_in(w, 4) ? w->max : w->size, &offset, &len);
	if (!handle)
		return;
	r = folio_file_punch(handle->file, offset, len);
	w->now->result = r;
	if (!r) {
		model_punch(w, offset, len);
		return;
	}
	failed(w, r, "punch");
	look_at_hole(w, handle, offset, len);
}

static void do_sync(struct world *w, bool all)
{
	struct handle *handle = any_handle(w, false);
	uint64_t offset = 0, len = UINT64_MAX, before, after, syncs, where = 0;
	struct folio_range range;
	unsigned flags = one_in(w, 2) ? FOLIO_SYNC_DATA : 0;
	bool must_fail;
	int r;

	if (!all)
		choose_range(w, w->max, &offset, &len);
	if (!handle)
		return;
	before = failures(w, w->faults || w->cuts);
	syncs = w->sim ? sim_failed(w->disk, SIM_SYNC) : 0;
	range = (struct folio_range){offset, len};
	r = folio_file_sync(handle->file, all ? NULL : &range, flags);
	after = failures(w, false);
	w->now->result = r;
	if (r)
		failed(w, r, "sync");
	if (is_cut(w))
		return;
	must_fail = handle->told != before || w->sync_failed;
	if (len && r == 0 && must_fail && !handle->told_unknown)
		differ(w, w->sync_failed
				  ? "a sync of the device had failed, and this sync says nothing"
				  : "an error of write-back is not told");
	if (r && !must_fail && before == after && !handle->told_unknown)
		differ(w, "an error is told to a handle that knows it: %s", strerror(-r));
	if (len) {
		handle->told = r ? after : before;
		handle->told_unknown = r && before != after;
	}
	if (w->sim && sim_failed(w->disk, SIM_SYNC) != syncs) {
		w->sync_failed = true;
		/* What the device forgot, only a power cut can show. */
		w->poisoned = w->cuts;
		w->forgot = true;
	}
	if (r || !len || offset >= w->size)
		return;
	compare_file(w, "after a sync", offset, len);
	if (len > w->size - offset)
		len = w->size - offset;
	if (w->sim && !w->forgot && !sim_keeps(w->disk, w->model + offset, len, offset, &where))
		differ(w, "after a sync a power cut can lose what is at %#llx",
			(unsigned long long)where);
	model_synced(w, offset, len);
}

static void do_reopen(struct world *w, bool all)
{
	unsigned i = (unsigned)below(w, HANDLES), k;
	bool reopen = !one_in(w, 3), writable = one_in(w, 2);

	w->now->handle = (int)i;
	for (k = 0; k < HANDLES; k++)
		if ((all || k == i) && w->handle[k].file)
			close_handle(w, &w->handle[k]);
	if (is_cut(w))
		return;
	/* There is always one that can write. */
	if (!w->handle[0].file)
		open_handle(w, &w->handle[0], true);
	if (reopen && !w->handle[1].file && w->handle[0].file)
		open_handle(w, &w->handle[1], writable);
}

static void do_invalidate(struct world *w)
{
	struct handle *handle = any_handle(w, false);
	uint64_t offset, len;

	choose_range(w, w->max, &offset, &len);
	if (one_in(w, 4)) {
		offset = 0;
		len = UINT64_MAX;
	}
	if (handle)
		w->now->result = folio_file_invalidate(handle->file, offset, len);
	if (w->now->result)
		differ(w, "invalidate failed: %lld", (long long)w->now->result);
}

static void do_revalidate(struct world *w)
{
	struct handle *handle = any_handle(w, false);

	if (!handle)
		return;
	w->now->result = folio_file_revalidate(handle->file);
	if (w->now->result < 0)
		failed(w, w->now->result, "revalidate");
}

static void do_prefetch(struct world *w)
{
	struct handle *handle = any_handle(w, false);
	struct folio_range range[4];
	unsigned i, count = 1 + (unsigned)below(w, 4);

	for (i = 0; i < count; i++)
		choose_range(w, w->max, &range[i].offset, &range[i].len);
	if (!handle)
		return;
	w->now->result = folio_file_prefetch(handle->file, range, count);
	if (w->now->result < 0)
		differ(w, "prefetch failed: %lld", (long long)w->now->result);
}

static void do_advise(struct world *w)
{
	struct handle *handle = any_handle(w, false);
	enum folio_advice advice = (enum folio_advice)below(w, 3);

	if (handle)
		w->now->result = folio_file_advise(handle->file, advice);
}

/* ---- one seed ---- */

/* Now and then: what fails, and when the power does. */
static void draw_weather(struct world *w)
{
	static const unsigned rate[] = {0, 0, 300, 3000, 30000};

	w->quiet_until = w->operation + 64 + below(w, 1024);
	if (w->faults) {
		w->quiet = one_in(w, 3);
		sim_fail_randomly(w->sim, SIM_READ, rate[below(w, 4)], EIO);
		sim_fail_randomly(
			w->sim, SIM_WRITE, rate[below(w, 5)], one_in(w, 4) ? ENOSPC : EIO);
		sim_fail_randomly(w->sim, SIM_SYNC, one_in(w, 8) ? 3000 : 0, EIO);
		sim_fail_randomly(w->sim, SIM_TRUNCATE, rate[below(w, 5)], EPERM);
		sim_fail_randomly(w->sim, SIM_PUNCH, rate[below(w, 5)], EIO);
		sim_fail_randomly(w->sim, SIM_OPEN, rate[below(w, 4)], EIO);
		sim_fail_randomly(w->sim, SIM_GETATTR, rate[below(w, 3)], EIO);
		sim_set_capacity(w->sim, one_in(w, 3) ? below(w, w->max) : UINT64_MAX);
		if (w->disk && one_in(w, 3))
			sim_fail_range(w->disk, one_in(w, 2) ? SIM_READ : SIM_WRITE,
				below(w, w->max), 1 + below(w, LENGTH_MAX), EIO, one_in(w, 2));
		else if (w->disk)
			sim_fail_range(
				w->disk, one_in(w, 2) ? SIM_READ : SIM_WRITE, 0, 0, 0, false);
		resume_faults(w);
	}
	if (w->cuts && one_in(w, 2))
		sim_cut_at(w->sim, 1 + below(w, 200));
}

static void draw_world(struct world *w, uint64_t seed)
{
	static const unsigned budget[] = {64, 64, 80, 96, 128, 256, 512};
	static const unsigned factor[] = {0, 1, 1, 3};
	static const unsigned yields[] = {0, 1, 4, 16};
	uint64_t setup = seed * 2 + 1;
	unsigned i;

#define DRAW(n) (next_random(&setup) % (n))
	w->seed = seed;
	w->random = next_random(&setup);
	w->max = SIZE_MAX_MAX >> DRAW(3);
	w->pages = w->max / PAGE;
	/* Each of the four comes in its turn. */
	w->faults = seed & 1 && !options.no_faults && !options.path;
	w->cuts = seed & 2 && !options.no_cuts && !options.path;
	w->tracks = w->faults || w->cuts;
	w->sequences = DRAW(3) == 0;
	w->mode = DRAW(4) == 0 ? SIM_INLINE : SIM_THREAD;
	for (i = 0; i < KINDS; i++) {
		w->weight[i] = kind_weight[i] * factor[DRAW(4)];
		/* On a real device most of the time goes there. */
		if (options.path && i != SYNC && i != SYNC_RANGE && i != REOPEN_ALL)
			w->weight[i] *= 10;
		if (!w->weight[i] && (i == READ || i == WRITE))
			w->weight[i] = kind_weight[i];
		w->weights += w->weight[i];
	}
	w->params = (struct folio_cache_params){
		.size = sizeof(w->params),
		.bytes = (options.budget ? options.budget
					 : budget[DRAW(sizeof(budget) / sizeof(*budget))]) *
			 PAGE,
		.flags = FOLIO_CACHE_NO_HUGE_PAGES | (DRAW(2) ? FOLIO_CACHE_NO_READAHEAD : 0),
		.readahead = DRAW(2) ? 16 * PAGE : 0,
		.dirty_age_ms = DRAW(3) ? UINT32_MAX : 1 + (uint32_t)DRAW(4),
	};
	switch (DRAW(3)) {
	case 0:
		w->params.dirty_bytes = 8 * PAGE;
		break;
	case 1:
		w->params.dirty_bytes = w->params.bytes / 2;
		break;
	}
	if (w->sequences) {
		w->params.before_writeback = before_writeback;
		w->params.before_writeback_context = w;
	}
	if (!options.path) {
		w->sim = sim_new(next_random(&setup), w->mode);
		w->params.io = &sim_ops;
		w->params.io_context = w->sim;
		sim_set_delay(w->sim, yields[DRAW(4)]);
		sim_set_no_holes(w->sim, DRAW(4) == 0);
		if (options.trace)
			sim_trace_to(w->sim, stdout);
	}
#undef DRAW
}

static enum kind draw_kind(struct world *w)
{
	uint64_t at = below(w, w->weights);
	unsigned kind = 0;

	while (at >= w->weight[kind])
		at -= w->weight[kind++];
	return kind;
}

static void operate(struct world *w)
{
	enum kind kind;

	if (w->operation >= w->quiet_until && w->sim)
		draw_weather(w);
	kind = draw_kind(w);
	if (w->operation - w->last_sync > SYNC_AT_LEAST && w->operation % 64 == 0)
		kind = SYNC;
	w->now = &w->last[w->operation % LAST_OPERATIONS];
	*w->now = (struct operation){
		.number = w->operation, .kind = kind, .handle = -1, .size = w->size};
	w->totals.count[kind]++;
	w->operation++;
	/* Failures to open may have left none. */
	if (!w->handle[0].file && kind != REOPEN_ALL)
		open_handle(w, &w->handle[0], true);
	switch (kind) {
	case READ:
	case READ_NOWAIT:
		do_read(w, kind == READ_NOWAIT);
		break;
	case PIN:
		do_pin(w);
		break;
	case UNPIN:
		unpin(w, &w->pin[below(w, PINS)]);
		break;
	case WRITE:
	case APPEND:
		do_write(w, kind == APPEND);
		break;
	case WRITE_PINNED:
		do_write_pinned(w);
		break;
	case SHRINK:
	case GROW:
		do_truncate(w, kind == GROW);
		break;
	case PUNCH:
		do_punch(w);
		break;
	case SYNC:
	case SYNC_RANGE:
		do_sync(w, kind == SYNC);
		break;
	case REOPEN:
	case REOPEN_ALL:
		do_reopen(w, kind == REOPEN_ALL);
		break;
	case INVALIDATE:
		do_invalidate(w);
		break;
	case REVALIDATE:
		do_revalidate(w);
		break;
	case PREFETCH:
		do_prefetch(w);
		break;
	case ADVISE:
		do_advise(w);
		break;
	case KINDS:
		break;
	}
	if (options.trace)
		printf("%llu %s h%d %#llx + %#llx: %lld\n", (unsigned long long)w->now->number,
			kind_name[kind], w->now->handle, (unsigned long long)w->now->offset,
			(unsigned long long)w->now->len, (long long)w->now->result);
	if (w->sim && sim_complaint(w->sim))
		differ(w, "the backend is asked for what it must not be: %s",
			sim_complaint(w->sim));
	if (atomic_load(&w->sequence_bad))
		differ(w, "page %llu was written before its log",
			(unsigned long long)atomic_load(&w->sequence_bad) - 1);
	if (is_cut(w))
		recover(w);
	else if (w->handle[0].file && folio_file_size(w->handle[0].file) != w->size)
		differ(w, "the size is %#llx, expected %#llx",
			(unsigned long long)folio_file_size(w->handle[0].file),
			(unsigned long long)w->size);
}

static bool run_seed(uint64_t seed, struct totals *totals)
{
	struct world *w = &world;
	volatile bool good = true;
	unsigned i;

	memset(w, 0, sizeof(*w));
	w->thread = pthread_self();
	draw_world(w, seed);
	w->model = must(calloc(1, w->max));
	w->buffer = must(calloc(1, w->max + 8));
	w->generation = must(calloc(w->pages, sizeof(*w->generation)));
	if (w->tracks)
		w->history = history_new(w->max);
	if (w->sequences) {
		w->sequence = must(calloc(w->pages, sizeof(*w->sequence)));
		if (w->sim)
			sim_observe_writes(w->sim, observe_write, w);
	}
	for (i = 0; i < PINS; i++)
		w->pin[i].copy = must(malloc(PAGE));
	w->view = -1;
	if (options.path) {
		w->view = open(options.path, O_RDWR | O_CREAT | O_TRUNC, 0666);
		if (w->view < 0) {
			fprintf(stderr, "fsx: %s: %s\n", options.path, strerror(errno));
			exit(2);
		}
	}
	if (w->sim)
		sim_pause(w->sim, true);
	w->now = &w->last[0];
	if (setjmp(w->out)) {
		/* What is left of it is in no state to be given back. */
		good = false;
		goto out;
	}
	open_world(w);
	while (w->operation < options.operations) {
		if (w->operation % 1024 == 0)
			alarm(HANG_SECONDS);
		operate(w);
	}
	alarm(HANG_SECONDS);
	unpin_all(w);
	pause_faults(w);
	if (w->sim)
		sim_cut_at(w->sim, 0);
	if (is_cut(w))
		recover(w);
	w->faults = false;
	for (i = 0; i < HANDLES; i++)
		if (w->handle[i].file)
			close_handle(w, &w->handle[i]);
	close_cache(w);
	if (w->sim) {
		for (i = 0; i < SIM_OPS; i++)
			w->totals.injected += sim_injected(w->sim, (enum sim_op)i);
		sim_free(w->sim);
	}
	history_free(w->history);
	for (i = 0; i < PINS; i++)
		free(w->pin[i].copy);
	free((void *)w->sequence);
	free(w->generation);
	free(w->buffer);
	free(w->model);
out:
	alarm(0);
	if (w->view >= 0)
		close(w->view);
	w->totals.operations = w->operation;
	w->totals.seeds = 1;
	for (i = 0; i < sizeof(*totals) / sizeof(uint64_t); i++)
		((uint64_t *)totals)[i] += ((uint64_t *)&w->totals)[i];
	return good;
}

/* Seeds job, job + jobs, ... */
static bool run_seeds(uint64_t job, struct totals *totals)
{
	bool good = true;
	uint64_t i;

	for (i = job; i < options.seeds && (good || options.go_on); i += options.jobs)
		good = run_seed(options.seed + i, totals) && good;
	return good;
}

/* ---- the command ---- */

static void usage(const char *what, const char *which)
{
	fprintf(stderr, "fsx: %s%s\n", what, which);
	exit(2);
}

static uint64_t number(const char *name, const char *value, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n;

	if (!value)
		usage("a number is missing after ", name);
	errno = 0;
	n = strtoull(value, &end, 0);
	if (errno || end == value || *end || *value == '-' || n < min || n > max)
		usage("a number is wrong after ", name);
	return n;
}

static void parse(int argc, char **argv)
{
	const char *seed = getenv("FOLIO_SEED");
	int i;

	options.seed = seed ? strtoull(seed, NULL, 0)
			    : (uint64_t)time(NULL) * 1000003 % 1000000000 + (uint64_t)getpid();
	for (i = 1; i < argc; i++) {
		const char *name = argv[i], *value = argv[i + 1];

		if (strcmp(name, "--seed") == 0) {
			options.seed = number(name, value, 0, UINT64_MAX);
			i++;
		} else if (strcmp(name, "--operations") == 0) {
			options.operations = number(name, value, 1, UINT64_MAX);
			i++;
		} else if (strcmp(name, "--seeds") == 0) {
			options.seeds = number(name, value, 1, UINT32_MAX);
			i++;
		} else if (strcmp(name, "--jobs") == 0) {
			options.jobs = number(name, value, 1, 256);
			i++;
		} else if (strcmp(name, "--budget") == 0) {
			options.budget = number(name, value, 64, UINT64_C(1) << 20);
			i++;
		} else if (strcmp(name, "--file") == 0) {
			if (!value)
				usage("a path is missing after ", name);
			options.path = value;
			i++;
		} else if (strcmp(name, "--json") == 0) {
			options.json = true;
		} else if (strcmp(name, "--no-faults") == 0) {
			options.no_faults = true;
		} else if (strcmp(name, "--no-cuts") == 0) {
			options.no_cuts = true;
		} else if (strcmp(name, "--go-on") == 0) {
			options.go_on = true;
		} else if (strcmp(name, "--trace") == 0) {
			options.trace = true;
		} else if (strcmp(name, "--help") == 0) {
			printf("fsx [--seed N] [--seeds N] [--operations N] [--jobs N] [--budget "
			       "PAGES] [--file PATH]\n    [--no-faults] [--no-cuts] [--go-on] "
			       "[--trace] [--json]\n");
			exit(0);
		} else {
			usage("unknown argument ", name);
		}
	}
	if (options.path && options.jobs > 1)
		usage("with --file there can be one job only", "");
}

static void print(const struct totals *totals, double seconds)
{
	unsigned i;

	if (!options.json) {
		printf("fsx: seeds %llu..%llu: %llu operations, %.1f s, %llu bytes read, %llu "
		       "written, %llu writes, %llu evictions,\n     %llu power cuts, %llu calls "
		       "failed of %llu failures, %llu abandoned; %llu differences\n",
			(unsigned long long)options.seed,
			(unsigned long long)(options.seed + options.seeds - 1),
			(unsigned long long)totals->operations, seconds,
			(unsigned long long)totals->bytes_read,
			(unsigned long long)totals->bytes_written,
			(unsigned long long)totals->writes, (unsigned long long)totals->evictions,
			(unsigned long long)totals->cuts, (unsigned long long)totals->failed_calls,
			(unsigned long long)totals->injected, (unsigned long long)totals->abandoned,
			(unsigned long long)totals->differences);
		return;
	}
	printf("{\"seed\": %llu, \"seeds\": %llu, \"operations\": %llu, \"seconds\": %.3f, "
	       "\"bytes_read\": %llu, \"bytes_written\": %llu, \"writes\": %llu, \"evictions\": "
	       "%llu, \"cuts\": %llu, \"failed_calls\": %llu, \"injected\": %llu, \"abandoned\": "
	       "%llu, \"differences\": %llu, \"kinds\": {",
		(unsigned long long)options.seed, (unsigned long long)totals->seeds,
		(unsigned long long)totals->operations, seconds,
		(unsigned long long)totals->bytes_read, (unsigned long long)totals->bytes_written,
		(unsigned long long)totals->writes, (unsigned long long)totals->evictions,
		(unsigned long long)totals->cuts, (unsigned long long)totals->failed_calls,
		(unsigned long long)totals->injected, (unsigned long long)totals->abandoned,
		(unsigned long long)totals->differences);
	for (i = 0; i < KINDS; i++)
		printf("%s\"%s\": %llu", i ? ", " : "", kind_name[i],
			(unsigned long long)totals->count[i]);
	printf("}}\n");
}

int main(int argc, char **argv)
{
	struct timespec begin, end;
	struct totals totals = {0}, part;
	int pipes[256][2], status;
	bool good = true;
	uint64_t job;
	size_t i;

	parse(argc, argv);
	if (options.jobs > options.seeds)
		options.jobs = options.seeds;
	if (!options.json)
		printf("fsx: seed %llu\n", (unsigned long long)options.seed);
	fflush(stdout);
	signal(SIGALRM, hang);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (options.jobs == 1) {
		good = run_seeds(0, &totals);
	} else {
		for (job = 0; job < options.jobs; job++) {
			if (pipe(pipes[job]) < 0) {
				perror("fsx: pipe");
				return 3;
			}
			if (fork() == 0) {
				good = run_seeds(job, &totals);
				if (write(pipes[job][1], &totals, sizeof(totals)) < 0)
					perror("fsx: pipe");
				fflush(stdout);
				_exit(good ? 0 : 1);
			}
			close(pipes[job][1]);
		}
		for (job = 0; job < options.jobs; job++) {
			if (read(pipes[job][0], &part, sizeof(part)) != sizeof(part))
				memset(&part, 0, sizeof(part));
			for (i = 0; i < sizeof(part) / sizeof(uint64_t); i++)
				((uint64_t *)&totals)[i] += ((uint64_t *)&part)[i];
		}
		while (wait(&status) > 0)
			good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	print(&totals,
		(double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
	return good ? 0 : 1;
}
