/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <folio/folio.h>

#include "../fake-file.h"

#define FILES_MAX 64
/* sim_fd of the first file; no descriptor of the process. */
#define FD_FIRST  1000000

/* A failed or short read leaves this in the buffer. */
#define GARBAGE   0xdb

/* The nth call from now on must fail; 0: none. */
struct order {
	uint64_t nth;
	int error;
	bool sticky;
};

struct range {
	uint64_t offset, len;
	int error;
	bool sticky;
};

struct sim_file {
	struct sim *sim;
	char *path;
	uint64_t id;
	uint64_t base; /* of data, and of the pages and sectors below */
	/* Guarded by sim->lock. */
	unsigned char *data; /* what reads see; zeros past the end */
	uint64_t size;
	uint64_t high;           /* no byte past base + high was ever in the file */
	unsigned char *has_page; /* by page: counted in the capacity */
	unsigned char *lost;     /* by sector: a failed sync lost it */
	unsigned char *accepted; /* by sector: written, and a failing flush may lose it */
	struct history *history;
	unsigned char *survivor; /* contents after a cut; the cut allocates it */
	uint64_t survivor_size;
	struct fake_file fake;
	uint64_t changes_kept; /* changes of which a power cut leaves the time */
	uint64_t end;          /* no read goes past the page of this byte */
	struct range range[SIM_OPS];
	uint64_t failed[SIM_OPS];
};

struct handle {
	struct sim_file *file;
	uint64_t power_cycle; /* the simulator's, at open */
	bool writable, probe;
	struct handle *next; /* in sim->handles */
};

struct sim {
	enum sim_mode mode; /* set at creation, never changed */

	pthread_mutex_t lock; /* guards the rest of the struct */
	pthread_cond_t work;  /* a request may proceed, or the thread must stop */
	pthread_cond_t event; /* any other event */
	/*
	 * One sequence per decision, so that one decision does not depend on how often another is
	 * made.
	 */
	uint64_t random_order, random_fault, random_tear, random_cut, random_delay;
	struct sim_file *file[FILES_MAX];
	unsigned files;
	struct handle *handles; /* open */

	struct order fail[SIM_OPS];
	struct order shorten;
	uint64_t shorten_bytes;
	unsigned rate[SIM_OPS];
	int rate_error[SIM_OPS];
	uint64_t base;           /* of files that are added */
	uint64_t capacity, used; /* pages */
	bool no_holes, paused;
	unsigned delay;

	struct folio_io_request *first; /* submitted, in no order */
	unsigned waiting;               /* their number */
	unsigned running;               /* their complete has not returned */
	unsigned depth;
	bool stop, started;
	pthread_t thread;

	uint64_t cut_in; /* performed calls until the power cut; 0: none */
	bool cut;
	uint64_t power_cycle;

	uint64_t calls[SIM_OPS], injected[SIM_OPS];
	unsigned in_flight_max;
	uint64_t trace;
	FILE *trace_to;
	void (*observe)(void *arg, struct sim_file *file, uint64_t offset, uint64_t len);
	void *observe_arg;
	char complaint[200];
};

static const char *const op_name[SIM_OPS] = {
	"create", "open", "getattr", "read", "write", "sync", "truncate", "punch", "flush"};

static void must(bool condition, const char *what)
{
	if (!condition) {
		fprintf(stderr, "sim: %s\n", what);
		abort();
	}
}

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static bool coin(uint64_t *state)
{
	return next_random(state) & 1;
}

static __attribute__((format(printf, 2, 3))) void complain_locked(
	struct sim *sim, const char *format, ...)
{
	va_list args;

	/* Without power every call fails, so requests no longer matter. */
	if (sim->complaint[0] || sim->cut)
		return;
	va_start(args, format);
	vsnprintf(sim->complaint, sizeof(sim->complaint), format, args);
	va_end(args);
}

static void trace_locked(struct sim *sim, enum sim_op op, const struct sim_file *file,
	uint64_t offset, uint64_t len, int64_t result)
{
	const uint64_t word[] = {op, file ? file->id : 0, offset, len, (uint64_t)result};
	unsigned i;

	for (i = 0; i < sizeof(word) / sizeof(*word); i++)
		sim->trace =
			(sim->trace ^ word[i]) * UINT64_C(0x9e3779b97f4a7c15) ^ sim->trace >> 29;
	if (sim->trace_to)
		fprintf(sim->trace_to, "sim: %-8s %s %#llx + %#llx: %lld\n", op_name[op],
			file ? file->path : "-", (unsigned long long)offset,
			(unsigned long long)len, (long long)result);
}

/* ---- failures ---- */

static bool due_locked(struct order *order)
{
	if (!order->nth)
		return false;
	if (order->nth == 1) {
		order->nth = order->sticky;
		return true;
	}
	order->nth--;
	return false;
}

static void failed_locked(struct sim *sim, struct sim_file *file, enum sim_op op)
{
	sim->injected[op]++;
	if (file)
		file->failed[op]++;
}

/* Counts a call. Returns the errno with which it must fail, or 0. */
static int call_locked(
	struct sim *sim, struct sim_file *file, enum sim_op op, uint64_t offset, uint64_t len)
{
	struct range *range;
	int error = 0;

	sim->calls[op]++;
	if (sim->cut) {
		if (file)
			file->failed[op]++;
		return EIO;
	}
	if (sim->paused)
		return 0;
	if (due_locked(&sim->fail[op]))
		error = sim->fail[op].error;
	if (sim->rate[op] && next_random(&sim->random_fault) % 65536 < sim->rate[op])
		error = sim->rate_error[op];
	if (file) {
		range = &file->range[op];
		if (range->error && offset < range->offset + range->len &&
			offset + len > range->offset) {
			error = range->error;
			if (!range->sticky)
				range->error = 0;
		}
	}
	if (error)
		failed_locked(sim, file, op);
	return error;
}

void sim_fail(struct sim *sim, enum sim_op op, uint64_t nth, int error, bool sticky)
{
	pthread_mutex_lock(&sim->lock);
	sim->fail[op] = (struct order){.nth = nth, .error = error, .sticky = sticky};
	pthread_mutex_unlock(&sim->lock);
}

void sim_fail_randomly(struct sim *sim, enum sim_op op, unsigned rate, int error)
{
	pthread_mutex_lock(&sim->lock);
	sim->rate[op] = rate;
	sim->rate_error[op] = error;
	pthread_mutex_unlock(&sim->lock);
}

void sim_fail_range(struct sim_file *file, enum sim_op op, uint64_t offset, uint64_t len, int error,
	bool sticky)
{
	pthread_mutex_lock(&file->sim->lock);
	file->range[op] = (struct range){offset, len, error, sticky};
	pthread_mutex_unlock(&file->sim->lock);
}

void sim_shorten(struct sim *sim, uint64_t nth, uint64_t bytes)
{
	pthread_mutex_lock(&sim->lock);
	sim->shorten = (struct order){.nth = nth};
	sim->shorten_bytes = bytes;
	pthread_mutex_unlock(&sim->lock);
}

void sim_set_capacity(struct sim *sim, uint64_t bytes)
{
	pthread_mutex_lock(&sim->lock);
	sim->capacity = bytes / FOLIO_PAGE_SIZE;
	pthread_mutex_unlock(&sim->lock);
}

void sim_set_no_holes(struct sim *sim, bool no_holes)
{
	pthread_mutex_lock(&sim->lock);
	sim->no_holes = no_holes;
	pthread_mutex_unlock(&sim->lock);
}

void sim_pause(struct sim *sim, bool paused)
{
	pthread_mutex_lock(&sim->lock);
	sim->paused = paused;
	pthread_mutex_unlock(&sim->lock);
}

/* ---- images ---- */

/* Where an offset is in the data; before the base, as at the base. */
static uint64_t position(const struct sim_file *file, uint64_t offset)
{
	return offset > file->base ? offset - file->base : 0;
}

/* The largest size of the file. */
static uint64_t size_limit(const struct sim_file *file)
{
	return file->base < INT64_MAX - SIM_FILE_MAX ? file->base + SIM_FILE_MAX : INT64_MAX;
}

static void grow_high(struct sim_file *file, uint64_t end)
{
	if (end > file->high)
		file->high = end;
}

/* The range has changed. In this function and the next ones, offsets are those of the data. */
static void note_locked(struct sim_file *file, uint64_t offset, uint64_t len)
{
	uint64_t sector;

	grow_high(file, offset + len);
	history_note(file->history, file->data, offset, len);
	for (sector = offset / SECTOR; sector * SECTOR < offset + len; sector++)
		file->lost[sector] = file->accepted[sector] = 0;
}

static void set_size_locked(struct sim_file *file, uint64_t size)
{
	file->size = size;
	grow_high(file, position(file, size));
	history_note_size(file->history, size);
}

static void free_pages_locked(struct sim_file *file, uint64_t first, uint64_t end)
{
	uint64_t page;

	for (page = first; page < end; page++) {
		file->sim->used -= file->has_page[page];
		file->has_page[page] = 0;
	}
}

/* False: not enough space for all pages; the pages before that have been counted. */
static bool take_pages_locked(struct sim_file *file, uint64_t offset, uint64_t len)
{
	struct sim *sim = file->sim;
	uint64_t page;

	for (page = offset / FOLIO_PAGE_SIZE; page * FOLIO_PAGE_SIZE < offset + len; page++) {
		if (file->has_page[page])
			continue;
		if (sim->used >= sim->capacity && !sim->paused)
			return false;
		file->has_page[page] = 1;
		sim->used++;
	}
	return true;
}

static void truncate_locked(struct sim_file *file, uint64_t size)
{
	uint64_t had = position(file, file->size), end = position(file, size);

	if (end < had) {
		memset(file->data + end, 0, had - end);
		note_locked(file, end, had - end);
		free_pages_locked(file, (end + FOLIO_PAGE_SIZE - 1) / FOLIO_PAGE_SIZE,
			(had + FOLIO_PAGE_SIZE - 1) / FOLIO_PAGE_SIZE);
	}
	set_size_locked(file, size);
	file->fake.changes++;
}

/*
 * A sync makes the written data durable. A failed one does so only for a part, and forgets the
 * rest.
 */
static void settle_locked(struct sim_file *file, bool succeeds, bool data_only)
{
	uint64_t sector, *random = &file->sim->random_tear;

	for (sector = 0; sector * SECTOR < file->high; sector++) {
		if (history_is_known(file->history, sector))
			continue;
		if (!succeeds && coin(random))
			file->lost[sector] = 1;
		if (!file->lost[sector])
			history_settle_sector(file->history, sector);
	}
	if (succeeds || coin(random))
		history_settle_size(file->history, file->size);
	if (succeeds)
		memset(file->accepted, 0, SIM_FILE_MAX / SECTOR);
	if (succeeds && !data_only)
		file->changes_kept = file->fake.changes;
}

/*
 * The file system has stored the data that it took, or finds out that it cannot keep some of it.
 * What it does not lose now is kept.
 */
static void confirm_locked(struct sim_file *file, bool succeeds)
{
	unsigned char older[SECTOR];
	uint64_t sector;

	for (sector = 0; !succeeds && sector * SECTOR < file->high; sector++) {
		unsigned versions = history_versions(file->history, sector);

		if (!file->accepted[sector] || versions < 2 || coin(&file->sim->random_tear))
			continue;
		memcpy(older, history_version(file->history, sector, versions - 2), SECTOR);
		memcpy(file->data + sector * SECTOR, older, SECTOR);
		note_locked(file, sector * SECTOR, SECTOR);
	}
	memset(file->accepted, 0, SIM_FILE_MAX / SECTOR);
}

static uint64_t length(const struct iovec *iov, unsigned iov_count)
{
	uint64_t bytes = 0;
	unsigned i;

	for (i = 0; i < iov_count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

static uint64_t hash(const struct folio_io_request *request)
{
	uint64_t state[4] = {1, 2, 3, 4}, word[4];
	unsigned i, k;
	size_t at;

	for (i = 0; i < request->iov_count; i++) {
		const char *from = request->iov[i].iov_base;

		for (at = 0; at + sizeof(word) <= request->iov[i].iov_len; at += sizeof(word)) {
			memcpy(word, from + at, sizeof(word));
			for (k = 0; k < 4; k++)
				state[k] = (state[k] ^ word[k]) * UINT64_C(0x9e3779b97f4a7c15) ^
					   state[k] >> 31;
		}
		for (; at < request->iov[i].iov_len; at++)
			state[0] =
				(state[0] ^ (unsigned char)from[at]) * UINT64_C(0xbf58476d1ce4e5b9);
	}
	return state[0] ^ state[1] << 1 ^ state[2] << 2 ^ state[3] << 3;
}

/* A write. With @torn, of each sector the new data arrives or the old data stays, independently. */
static void write_locked(struct sim_file *file, const struct iovec *iov, unsigned iov_count,
	uint64_t offset, bool torn)
{
	uint64_t *random = &file->sim->random_tear, end = position(file, file->size);
	unsigned i;

	/* The file cannot take it. */
	if (offset < file->base || offset + length(iov, iov_count) > size_limit(file))
		return;
	offset = position(file, offset);
	for (i = 0; i < iov_count; offset += iov[i].iov_len, i++) {
		const unsigned char *from = iov[i].iov_base;
		size_t at, part;

		for (at = 0; at < iov[i].iov_len; at += part) {
			unsigned char *to = file->data + offset + at;
			unsigned char *accepted = file->accepted + (offset + at) / SECTOR;
			bool is_new;

			part = iov[i].iov_len - at < SECTOR ? iov[i].iov_len - at : SECTOR;
			if (torn && (!coin(random) || !take_pages_locked(file, offset + at, part)))
				continue;
			is_new = *accepted || memcmp(to, from + at, part) != 0;
			memcpy(to, from + at, part);
			note_locked(file, offset + at, part);
			*accepted = is_new && !torn;
			if (offset + at + part > end)
				end = offset + at + part;
		}
	}
	if (file->base + end > file->size)
		set_size_locked(file, file->base + end);
	file->fake.changes++;
}

/* ---- power ---- */

static void survive_locked(struct sim *sim, struct sim_file *file)
{
	uint64_t sector, size, end, *random = &sim->random_cut;

	size = history_size(file->history, next_random(random) % history_sizes(file->history));
	file->survivor = calloc(1, SIM_FILE_MAX);
	must(file->survivor, "no memory");
	for (sector = 0; sector * SECTOR < file->high; sector++) {
		unsigned versions = history_versions(file->history, sector);

		memcpy(file->survivor + sector * SECTOR,
			history_version(file->history, sector,
				versions > 1 ? next_random(random) % versions : 0),
			SECTOR);
	}
	end = position(file, size);
	if (file->high > end)
		memset(file->survivor + end, 0, file->high - end);
	file->survivor_size = size;
}

static void cut_locked(struct sim *sim)
{
	const struct folio_io_request *request;
	unsigned i;

	if (sim->cut)
		return;
	for (request = sim->first; request; request = request->next)
		if (request->op == FOLIO_IO_WRITE && coin(&sim->random_cut))
			write_locked(((struct handle *)request->handle)->file, request->iov,
				request->iov_count, request->offset, true);
	for (i = 0; i < sim->files; i++)
		survive_locked(sim, sim->file[i]);
	sim->cut = true;
	sim->cut_in = 0;
	if (sim->trace_to)
		fprintf(sim->trace_to, "sim: power cut\n");
}

/*
 * Called before a call is performed. True: power fails now, and the call may be performed in part.
 */
static bool cut_comes_locked(struct sim *sim)
{
	return sim->cut_in && --sim->cut_in == 0;
}

void sim_cut(struct sim *sim)
{
	pthread_mutex_lock(&sim->lock);
	cut_locked(sim);
	pthread_mutex_unlock(&sim->lock);
}

void sim_cut_at(struct sim *sim, uint64_t nth)
{
	pthread_mutex_lock(&sim->lock);
	sim->cut_in = nth;
	pthread_mutex_unlock(&sim->lock);
}

bool sim_is_cut(struct sim *sim)
{
	bool cut;

	pthread_mutex_lock(&sim->lock);
	cut = sim->cut;
	pthread_mutex_unlock(&sim->lock);
	return cut;
}

void sim_restore(struct sim *sim)
{
	unsigned i;

	pthread_mutex_lock(&sim->lock);
	must(sim->cut, "restored without a cut");
	must(!sim->waiting && !sim->running, "restored with requests in flight");
	for (i = 0; i < sim->files; i++) {
		struct sim_file *file = sim->file[i];
		uint64_t pages = (file->high + FOLIO_PAGE_SIZE - 1) / FOLIO_PAGE_SIZE;
		uint64_t kept = (position(file, file->survivor_size) + FOLIO_PAGE_SIZE - 1) /
				FOLIO_PAGE_SIZE;

		memcpy(file->data, file->survivor, file->high);
		free(file->survivor);
		file->survivor = NULL;
		file->size = file->survivor_size;
		if (kept < pages)
			free_pages_locked(file, kept, pages);
		history_settle(file->history, file->data, 0, file->high);
		history_settle_size(file->history, file->size);
		memset(file->lost, 0, SIM_FILE_MAX / SECTOR);
		memset(file->accepted, 0, SIM_FILE_MAX / SECTOR);
		/* A later change may have the time of one that was lost. */
		file->fake.changes = file->changes_kept;
	}
	sim->cut = false;
	sim->power_cycle++;
	pthread_mutex_unlock(&sim->lock);
}

/* ---- files ---- */

static struct sim_file *find_locked(struct sim *sim, const char *path)
{
	unsigned i;

	for (i = 0; i < sim->files; i++)
		if (strcmp(sim->file[i]->path, path) == 0)
			return sim->file[i];
	return NULL;
}

static void place_locked(struct sim_file *file, uint64_t device)
{
	uint64_t inode = 1;
	unsigned i;

	for (i = 0; i < file->sim->files; i++)
		if (file->sim->file[i] != file && file->sim->file[i]->fake.device == device)
			inode++;
	file->fake = (struct fake_file){.device = device, .inode = inode, .changes = 1};
}

static struct sim_file *add_locked(
	struct sim *sim, const char *path, const void *bytes, uint64_t size)
{
	struct sim_file *file = calloc(1, sizeof(*file));

	must(file && size <= SIM_FILE_MAX, "no memory, or a file too large");
	must(!size || !sim->base, "a file with data at its base only");
	must(sim->files < FILES_MAX && !find_locked(sim, path),
		"too many files, or the name exists");
	file->sim = sim;
	file->base = sim->base;
	file->path = strdup(path);
	file->data = calloc(1, SIM_FILE_MAX);
	file->has_page = calloc(1, SIM_FILE_MAX / FOLIO_PAGE_SIZE);
	file->lost = calloc(1, SIM_FILE_MAX / SECTOR);
	file->accepted = calloc(1, SIM_FILE_MAX / SECTOR);
	file->history = history_new(SIM_FILE_MAX);
	must(file->path && file->data && file->has_page && file->lost && file->accepted,
		"no memory");
	if (bytes)
		memcpy(file->data, bytes, size);
	file->size = file->high = size;
	must(!size || take_pages_locked(file, 0, size), "a file larger than the capacity");
	history_settle(file->history, file->data, 0, size);
	history_settle_size(file->history, size);
	sim->file[sim->files++] = file;
	file->id = sim->files;
	file->end = UINT64_MAX;
	file->changes_kept = 1;
	place_locked(file, 1);
	return file;
}

struct sim_file *sim_add(struct sim *sim, const char *path, const void *bytes, uint64_t size)
{
	struct sim_file *file;

	pthread_mutex_lock(&sim->lock);
	file = add_locked(sim, path, bytes, size);
	pthread_mutex_unlock(&sim->lock);
	return file;
}

void sim_set_base(struct sim *sim, uint64_t base)
{
	must(base % FOLIO_PAGE_SIZE == 0 && base < INT64_MAX, "a wrong base");
	pthread_mutex_lock(&sim->lock);
	sim->base = base;
	pthread_mutex_unlock(&sim->lock);
}

void sim_set_device(struct sim_file *file, uint64_t device)
{
	pthread_mutex_lock(&file->sim->lock);
	place_locked(file, device);
	pthread_mutex_unlock(&file->sim->lock);
}

int sim_fd(const struct sim_file *file)
{
	return FD_FIRST + (int)file->id;
}

void sim_set_end(struct sim_file *file, uint64_t end)
{
	pthread_mutex_lock(&file->sim->lock);
	file->end = end;
	pthread_mutex_unlock(&file->sim->lock);
}

struct sim_file *sim_find(struct sim *sim, const char *path)
{
	struct sim_file *file;

	pthread_mutex_lock(&sim->lock);
	file = find_locked(sim, path);
	pthread_mutex_unlock(&sim->lock);
	return file;
}

uint64_t sim_size(struct sim_file *file)
{
	uint64_t size;

	pthread_mutex_lock(&file->sim->lock);
	size = file->size;
	pthread_mutex_unlock(&file->sim->lock);
	return size;
}

/* The position of bytes that a test looks at. */
static uint64_t look(const struct sim_file *file, size_t len, uint64_t offset)
{
	uint64_t at = offset - file->base;

	must(offset >= file->base && at <= SIM_FILE_MAX && len <= SIM_FILE_MAX - at,
		"a look before the base or past the largest size");
	return at;
}

void sim_peek(struct sim_file *file, void *buf, size_t len, uint64_t offset)
{
	uint64_t at = look(file, len, offset);

	pthread_mutex_lock(&file->sim->lock);
	memcpy(buf, file->data + at, len);
	pthread_mutex_unlock(&file->sim->lock);
}

static bool same(const unsigned char *a, const unsigned char *b, size_t len, uint64_t offset,
	uint64_t *where)
{
	size_t i = 0;

	if (memcmp(a, b, len) == 0)
		return true;
	while (a[i] == b[i])
		i++;
	if (where)
		*where = offset + i;
	return false;
}

bool sim_has(struct sim_file *file, const void *bytes, size_t len, uint64_t offset, uint64_t *where)
{
	uint64_t at = look(file, len, offset);
	bool right;

	pthread_mutex_lock(&file->sim->lock);
	right = same(file->data + at, bytes, len, offset, where);
	pthread_mutex_unlock(&file->sim->lock);
	return right;
}

bool sim_keeps(
	struct sim_file *file, const void *bytes, size_t len, uint64_t offset, uint64_t *where)
{
	uint64_t at, end = offset + len, least = UINT64_MAX, position = look(file, len, offset);
	size_t skip, part;
	bool right = true;
	unsigned i;

	pthread_mutex_lock(&file->sim->lock);
	for (i = 0; i < history_sizes(file->history); i++)
		if (history_size(file->history, i) < least)
			least = history_size(file->history, i);
	for (at = least > offset ? least : offset; right && at < end; at++) {
		right = ((const unsigned char *)bytes)[at - offset] == 0;
		if (!right && where)
			*where = at;
	}
	for (at = offset; right && at < end; at += part) {
		uint64_t sector = (position + (at - offset)) / SECTOR;
		unsigned versions = history_versions(file->history, sector);

		skip = at % SECTOR;
		part = SECTOR - skip < end - at ? SECTOR - skip : end - at;
		for (i = 0; right && i < versions; i++)
			right = same(history_version(file->history, sector, i) + skip,
				(const unsigned char *)bytes + (at - offset), part, at, where);
	}
	pthread_mutex_unlock(&file->sim->lock);
	return right;
}

bool sim_keeps_times(struct sim_file *file)
{
	bool kept;

	pthread_mutex_lock(&file->sim->lock);
	kept = file->changes_kept == file->fake.changes;
	pthread_mutex_unlock(&file->sim->lock);
	return kept;
}

bool sim_allows(struct sim_file *file, const void *bytes, uint64_t size, uint64_t *where)
{
	bool right = false;
	uint64_t at;
	size_t part;
	unsigned i;

	must(!file->base, "a file with another base than 0");
	pthread_mutex_lock(&file->sim->lock);
	for (i = 0; !right && i < history_sizes(file->history); i++)
		right = history_size(file->history, i) == size;
	if (!right && where)
		*where = size;
	for (at = 0; right && at < size; at += part) {
		part = size - at < SECTOR ? size - at : SECTOR;
		right = history_allows(
			file->history, at / SECTOR, (const unsigned char *)bytes + at, part);
		if (!right && where)
			*where = at;
	}
	pthread_mutex_unlock(&file->sim->lock);
	return right;
}

/* ---- requests ---- */

static bool overlap(const struct folio_io_request *request, uint64_t offset, uint64_t end)
{
	return request->offset < end &&
	       request->offset + length(request->iov, request->iov_count) > offset;
}

/*
 * Complains if a write to @handle's file in flight overlaps offset .. end. @what: the operation
 * about to run there.
 */
static void check_in_flight_locked(
	struct sim *sim, struct handle *handle, uint64_t offset, uint64_t end, const char *what)
{
	const struct folio_io_request *request;

	for (request = sim->first; request; request = request->next)
		if (((struct handle *)request->handle)->file == handle->file &&
			request->op == FOLIO_IO_WRITE && overlap(request, offset, end))
			complain_locked(sim, "%s %#llx..%#llx overlaps a write in flight at %#llx",
				what, (unsigned long long)offset, (unsigned long long)end,
				(unsigned long long)request->offset);
}

static void check_shape_locked(
	struct sim *sim, const struct iovec *iov, unsigned iov_count, uint64_t offset, bool write)
{
	unsigned i;

	if (offset % FOLIO_PAGE_SIZE || !iov_count || iov_count > FOLIO_IO_IOV_MAX)
		complain_locked(sim, "a request at %#llx of %u pieces", (unsigned long long)offset,
			iov_count);
	for (i = 0; i < iov_count; i++)
		if ((uintptr_t)iov[i].iov_base % FOLIO_PAGE_SIZE || !iov[i].iov_len ||
			(iov[i].iov_len % FOLIO_PAGE_SIZE && !(write && i == iov_count - 1)))
			complain_locked(sim, "a request at %#llx with a piece of %zu bytes",
				(unsigned long long)offset, iov[i].iov_len);
}

/* A cache that reads past the end has ignored a size that it knows. */
static void check_read_locked(
	struct sim *sim, const struct sim_file *file, uint64_t offset, uint64_t len)
{
	uint64_t pages = file->end / FOLIO_PAGE_SIZE + (file->end % FOLIO_PAGE_SIZE != 0);

	if ((offset + len) / FOLIO_PAGE_SIZE > pages)
		complain_locked(sim, "a read of %#llx..%#llx, and the file ends at %#llx",
			(unsigned long long)offset, (unsigned long long)(offset + len),
			(unsigned long long)file->end);
}

/* False: the request is in flight already, and is not run again. */
static bool is_new_locked(struct sim *sim, const struct folio_io_request *request)
{
	const struct folio_io_request *other = sim->first;

	while (other && other != request)
		other = other->next;
	if (other)
		complain_locked(sim, "a request at %#llx is submitted twice",
			(unsigned long long)request->offset);
	return !other;
}

/*
 * Decided when the request arrives. cookie[0]: the errno with which it fails. cookie[1]: the number
 * of bytes after which a read ends, or the hash of a write's data.
 */
static void arrive_locked(struct sim *sim, struct folio_io_request *request)
{
	struct handle *handle = request->handle;
	uint64_t len = length(request->iov, request->iov_count);
	bool write = request->op == FOLIO_IO_WRITE;

	check_shape_locked(sim, request->iov, request->iov_count, request->offset, write);
	if (handle->probe)
		complain_locked(sim, "a request through a probe");
	if (!write)
		check_read_locked(sim, handle->file, request->offset, len);
	if (write && !handle->writable)
		complain_locked(sim, "a write through a handle opened for reading");
	if (write)
		check_in_flight_locked(
			sim, handle, request->offset, request->offset + len, "a write");
	request->cookie[0] = (uint64_t)call_locked(
		sim, handle->file, write ? SIM_WRITE : SIM_READ, request->offset, len);
	request->cookie[1] = UINT64_MAX;
	if (handle->power_cycle != sim->power_cycle)
		request->cookie[0] = EIO;
	if (write)
		request->cookie[1] = hash(request);
	else if (!sim->paused && due_locked(&sim->shorten))
		request->cookie[1] = sim->shorten_bytes;
}

static ssize_t perform_read_locked(struct sim *sim, struct sim_file *file, const struct iovec *iov,
	unsigned iov_count, uint64_t offset, int error, uint64_t most)
{
	uint64_t wanted = length(iov, iov_count), end = offset + (wanted < most ? wanted : most);
	uint64_t at = offset;
	unsigned i;

	if (end > file->size)
		end = file->size;
	if (end < offset || error)
		end = offset;
	for (i = 0; i < iov_count; at += iov[i].iov_len, i++) {
		size_t valid = end > at ? end - at : 0, hole = 0;

		if (valid > iov[i].iov_len)
			valid = iov[i].iov_len;
		if (at < file->base)
			hole = file->base - at < valid ? file->base - at : valid;
		memset(iov[i].iov_base, 0, hole);
		memcpy((char *)iov[i].iov_base + hole, file->data + position(file, at),
			valid - hole);
		memset((char *)iov[i].iov_base + valid, GARBAGE, iov[i].iov_len - valid);
	}
	trace_locked(sim, SIM_READ, file, offset, wanted, error ? -error : (ssize_t)(end - offset));
	return error ? -error : (ssize_t)(end - offset);
}

static ssize_t perform_write_locked(
	struct sim *sim, struct sim_file *file, const struct folio_io_request *request)
{
	uint64_t wanted = length(request->iov, request->iov_count), at = request->offset;
	int error = (int)request->cookie[0];

	if (request->cookie[1] != hash(request))
		complain_locked(sim, "a write at %#llx changed while it was in flight",
			(unsigned long long)at);
	if (at < file->base)
		complain_locked(sim, "a write at %#llx, before the data of the file",
			(unsigned long long)at);
	if (!error && (at < file->base || at + wanted > size_limit(file)))
		error = EFBIG;
	if (!error && !take_pages_locked(file, position(file, at), wanted)) {
		error = ENOSPC;
		failed_locked(sim, file, SIM_WRITE);
	}
	write_locked(file, request->iov, request->iov_count, at, error != 0);
	trace_locked(
		sim, SIM_WRITE, file, request->offset, wanted, error ? -error : (ssize_t)wanted);
	return error ? -error : (ssize_t)wanted;
}

/* The request has just been taken off the list of requests in flight. */
static ssize_t perform_locked(struct sim *sim, struct folio_io_request *request)
{
	struct handle *handle = request->handle;
	bool write = request->op == FOLIO_IO_WRITE;

	if (!sim->cut && handle->power_cycle == sim->power_cycle && cut_comes_locked(sim)) {
		if (write)
			write_locked(handle->file, request->iov, request->iov_count,
				request->offset, true);
		cut_locked(sim);
	}
	if (sim->cut || handle->power_cycle != sim->power_cycle) {
		if (!request->cookie[0])
			handle->file->failed[write ? SIM_WRITE : SIM_READ]++;
		return -EIO;
	}
	return write ? perform_write_locked(sim, handle->file, request)
		     : perform_read_locked(sim, handle->file, request->iov, request->iov_count,
			       request->offset, (int)request->cookie[0], request->cookie[1]);
}

/* Lets other threads run for as long as a device might take. */
static void linger(struct sim *sim)
{
	unsigned yields = 0;

	pthread_mutex_lock(&sim->lock);
	/* Usually not at all: with many other threads running, one yield already takes long. */
	if (sim->delay && sim->mode == SIM_THREAD && next_random(&sim->random_delay) % 4 == 0)
		yields = next_random(&sim->random_delay) % (sim->delay + 1);
	pthread_mutex_unlock(&sim->lock);
	while (yields-- > 0)
		sched_yield();
}

/* Picks any waiting request and runs it. Drops the lock around complete. */
static void run_one_locked(struct sim *sim)
{
	struct folio_io_request **link = &sim->first, *request;
	uint64_t skip = next_random(&sim->random_order) % sim->waiting;
	ssize_t result;

	while (skip--)
		link = &(*link)->next;
	request = *link;
	*link = request->next;
	sim->waiting--;
	sim->running++;
	result = perform_locked(sim, request);
	pthread_mutex_unlock(&sim->lock);
	request->complete(request, result);
	pthread_mutex_lock(&sim->lock);
	sim->running--;
	pthread_cond_broadcast(&sim->event);
}

static void *run(void *arg)
{
	struct sim *sim = arg;

	pthread_mutex_lock(&sim->lock);
	for (;;) {
		while (!sim->waiting && !sim->stop)
			pthread_cond_wait(&sim->work, &sim->lock);
		if (!sim->waiting)
			break;
		if (sim->delay) {
			pthread_mutex_unlock(&sim->lock);
			linger(sim);
			pthread_mutex_lock(&sim->lock);
		}
		run_one_locked(sim);
	}
	pthread_mutex_unlock(&sim->lock);
	return NULL;
}

static void sim_submit(void *context, struct folio_io_request **requests, unsigned count)
{
	struct sim *sim = context;
	unsigned i;

	for (i = 0; sim->observe && i < count; i++)
		if (requests[i]->op == FOLIO_IO_WRITE)
			sim->observe(sim->observe_arg, ((struct handle *)requests[i]->handle)->file,
				requests[i]->offset,
				length(requests[i]->iov, requests[i]->iov_count));
	pthread_mutex_lock(&sim->lock);
	for (i = 0; i < count; i++) {
		while (sim->mode == SIM_THREAD && sim->waiting + sim->running >= sim->depth)
			pthread_cond_wait(&sim->event, &sim->lock);
		if (!is_new_locked(sim, requests[i]))
			continue;
		arrive_locked(sim, requests[i]);
		requests[i]->next = sim->first;
		sim->first = requests[i];
		sim->waiting++;
		if (sim->waiting + sim->running > sim->in_flight_max)
			sim->in_flight_max = sim->waiting + sim->running;
		pthread_cond_signal(&sim->work);
	}
	while (sim->mode == SIM_INLINE && sim->waiting)
		run_one_locked(sim);
	pthread_mutex_unlock(&sim->lock);
}

unsigned sim_step(struct sim *sim, unsigned count)
{
	unsigned ran = 0;

	must(sim->mode == SIM_STEP, "only SIM_STEP steps");
	pthread_mutex_lock(&sim->lock);
	for (; ran < count && sim->waiting; ran++)
		run_one_locked(sim);
	pthread_mutex_unlock(&sim->lock);
	return ran;
}

void sim_set_delay(struct sim *sim, unsigned yields)
{
	pthread_mutex_lock(&sim->lock);
	sim->delay = yields;
	pthread_mutex_unlock(&sim->lock);
}

unsigned sim_in_flight(struct sim *sim)
{
	unsigned count;

	pthread_mutex_lock(&sim->lock);
	count = sim->waiting + sim->running;
	pthread_mutex_unlock(&sim->lock);
	return count;
}

void sim_wait_idle(struct sim *sim)
{
	pthread_mutex_lock(&sim->lock);
	while (sim->waiting || sim->running)
		pthread_cond_wait(&sim->event, &sim->lock);
	pthread_mutex_unlock(&sim->lock);
}

/* ---- the table ---- */

static int sim_create(void **context, unsigned depth)
{
	struct sim *sim = *context;
	int error;

	pthread_mutex_lock(&sim->lock);
	error = call_locked(sim, NULL, SIM_CREATE, 0, 0);
	sim->depth = depth ? depth : 1;
	sim->stop = false;
	if (!error && sim->mode == SIM_THREAD) {
		error = pthread_create(&sim->thread, NULL, run, sim);
		sim->started = !error;
	}
	pthread_mutex_unlock(&sim->lock);
	return -error;
}

static void sim_destroy(void *context)
{
	struct sim *sim = context;

	pthread_mutex_lock(&sim->lock);
	must(!sim->waiting, "destroyed with requests in flight");
	must(!sim->handles, "destroyed with a handle open");
	sim->stop = true;
	pthread_cond_broadcast(&sim->work);
	pthread_mutex_unlock(&sim->lock);
	if (sim->started)
		pthread_join(sim->thread, NULL);
	sim->started = false;
}

static struct handle *new_handle_locked(struct sim_file *file, int flags, unsigned io_flags)
{
	struct sim *sim = file->sim;
	struct handle *handle = calloc(1, sizeof(*handle));

	must(handle, "no memory");
	*handle = (struct handle){
		.file = file,
		.power_cycle = sim->power_cycle,
		.writable = (flags & O_ACCMODE) == O_RDWR,
		.probe = io_flags & FOLIO_IO_PROBE,
		.next = sim->handles,
	};
	sim->handles = handle;
	return handle;
}

/* A probe fails if its file does not exist, or without power. */
static int open_error_locked(struct sim *sim, struct sim_file *file, int flags, unsigned io_flags)
{
	int error = io_flags & FOLIO_IO_PROBE ? sim->cut ? EIO : 0
					      : call_locked(sim, file, SIM_OPEN, 0, 0);

	if (!error && !file && !(flags & O_CREAT))
		error = ENOENT;
	if (!error && file && flags & O_CREAT && flags & O_EXCL)
		error = EEXIST;
	return error;
}

static int sim_open(
	void *context, const char *path, int flags, mode_t mode, unsigned io_flags, void **result)
{
	struct sim *sim = context;
	struct sim_file *file;
	int error;

	pthread_mutex_lock(&sim->lock);
	file = find_locked(sim, path);
	error = open_error_locked(sim, file, flags, io_flags);
	if (!error) {
		if (!file)
			file = add_locked(sim, path, NULL, 0);
		*result = new_handle_locked(file, flags, io_flags);
		if (flags & O_TRUNC)
			truncate_locked(file, 0);
	}
	trace_locked(sim, SIM_OPEN, file, 0, 0, -error);
	pthread_mutex_unlock(&sim->lock);
	return -error;
}

static int sim_open_fd(void *context, int fd, int flags, unsigned io_flags, void **result)
{
	struct sim *sim = context;
	unsigned id = (unsigned)(fd - FD_FIRST);
	int error = EBADF;

	pthread_mutex_lock(&sim->lock);
	if (id >= 1 && id <= sim->files)
		error = open_error_locked(sim, sim->file[id - 1], flags, io_flags);
	if (!error)
		*result = new_handle_locked(sim->file[id - 1], flags, io_flags);
	pthread_mutex_unlock(&sim->lock);
	return -error;
}

/* As the last close(2), whose error no caller sees: data that no flush confirmed may be lost. */
static void close_writer_locked(struct sim *sim, const struct handle *closed)
{
	struct sim_file *file = closed->file;
	const struct handle *other;

	for (other = sim->handles; other; other = other->next)
		if (other->file == file && other->writable && !other->probe)
			return;
	if (closed->writable && closed->power_cycle == sim->power_cycle && !sim->cut &&
		memchr(file->accepted, 1, SIM_FILE_MAX / SECTOR))
		confirm_locked(file, !call_locked(sim, file, SIM_FLUSH, 0, 0));
}

static void sim_close(void *context, void *handle)
{
	struct sim *sim = context;
	const struct folio_io_request *request;
	struct handle **link = &sim->handles, *opened = handle;

	pthread_mutex_lock(&sim->lock);
	for (request = sim->first; request; request = request->next)
		if (request->handle == handle)
			complain_locked(sim, "a close with a request in flight");
	while (*link && *link != handle)
		link = &(*link)->next;
	must(*link, "a handle is closed that is not open");
	*link = (*link)->next;
	close_writer_locked(sim, opened);
	pthread_mutex_unlock(&sim->lock);
	free(handle);
}

static int sim_getattr(void *context, void *opened, struct folio_io_attr *attr)
{
	struct sim *sim = context;
	struct handle *handle = opened;
	int error;

	pthread_mutex_lock(&sim->lock);
	error = call_locked(sim, handle->file, SIM_GETATTR, 0, 0);
	if (handle->power_cycle != sim->power_cycle)
		error = EIO;
	if (!error)
		fake_attr(&handle->file->fake, handle->file->size, handle->probe, attr);
	if (!error && attr->struct_size == sizeof(*attr) && attr->wanted & FOLIO_IO_ATTR_LIMIT) {
		attr->fields |= FOLIO_IO_ATTR_LIMIT;
		attr->limit = size_limit(handle->file);
		attr->limit_error = EFBIG;
	}
	pthread_mutex_unlock(&sim->lock);
	return -error;
}

/* Begins a call that runs at once. If power fails now, the call is performed in part at most. */
static int begin_call_locked(
	struct sim *sim, struct handle *handle, enum sim_op op, uint64_t offset, uint64_t len)
{
	int error = call_locked(sim, handle->file, op, offset, len);

	if (handle->power_cycle != sim->power_cycle)
		return EIO;
	if (handle->probe)
		complain_locked(sim, "%s through a probe", op_name[op]);
	if (op != SIM_READ && !handle->writable)
		complain_locked(sim, "%s through a handle opened for reading", op_name[op]);
	if (sim->cut || !cut_comes_locked(sim))
		return error;
	if (op == SIM_TRUNCATE && coin(&sim->random_cut))
		truncate_locked(handle->file, offset);
	cut_locked(sim);
	if (!error)
		handle->file->failed[op]++;
	return EIO;
}

static ssize_t sim_read(
	void *context, void *opened, const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	struct sim *sim = context;
	struct handle *handle = opened;
	uint64_t most = UINT64_MAX;
	ssize_t result;
	int error;

	linger(sim);
	pthread_mutex_lock(&sim->lock);
	check_shape_locked(sim, iov, iov_count, offset, false);
	check_read_locked(sim, handle->file, offset, length(iov, iov_count));
	error = begin_call_locked(sim, handle, SIM_READ, offset, length(iov, iov_count));
	if (!sim->paused && due_locked(&sim->shorten))
		most = sim->shorten_bytes;
	result = perform_read_locked(sim, handle->file, iov, iov_count, offset, error, most);
	pthread_mutex_unlock(&sim->lock);
	return result;
}

static int sim_sync(void *context, void *opened, unsigned sync_flags)
{
	struct sim *sim = context;
	struct handle *handle = opened;
	int error;

	linger(sim);
	pthread_mutex_lock(&sim->lock);
	error = begin_call_locked(sim, handle, SIM_SYNC, 0, 0);
	if (handle->power_cycle == sim->power_cycle && !sim->cut)
		settle_locked(handle->file, !error, sync_flags & FOLIO_IO_DATA_ONLY);
	trace_locked(sim, SIM_SYNC, handle->file, 0, 0, -error);
	pthread_mutex_unlock(&sim->lock);
	return -error;
}

static int sim_truncate(void *context, void *opened, uint64_t size)
{
	struct sim *sim = context;
	struct handle *handle = opened;
	int error;

	linger(sim);
	pthread_mutex_lock(&sim->lock);
	check_in_flight_locked(sim, handle, size, UINT64_MAX, "a truncation");
	error = begin_call_locked(sim, handle, SIM_TRUNCATE, size, UINT64_MAX - size);
	if (!error && size > size_limit(handle->file))
		error = EFBIG;
	if (!error)
		truncate_locked(handle->file, size);
	trace_locked(sim, SIM_TRUNCATE, handle->file, size, 0, -error);
	pthread_mutex_unlock(&sim->lock);
	return -error;
}

static int sim_punch(void *context, void *opened, uint64_t offset, uint64_t len)
{
	struct sim *sim = context;
	struct handle *handle = opened;
	struct sim_file *file = handle->file;
	uint64_t first, end;
	int error;

	linger(sim);
	pthread_mutex_lock(&sim->lock);
	check_in_flight_locked(sim, handle, offset, offset + len, "a hole");
	if (offset % FOLIO_PAGE_SIZE || len % FOLIO_PAGE_SIZE || !len)
		complain_locked(sim, "a hole of %#llx + %#llx", (unsigned long long)offset,
			(unsigned long long)len);
	error = begin_call_locked(sim, handle, SIM_PUNCH, offset, len);
	if (!error && sim->no_holes)
		error = EOPNOTSUPP;
	/* The part of the range past the end stays past the end. */
	if (!error && offset < file->size) {
		first = position(file, offset);
		end = position(file, len > file->size - offset ? file->size : offset + len);
		memset(file->data + first, 0, end - first);
		note_locked(file, first, end - first);
		free_pages_locked(file, first / FOLIO_PAGE_SIZE,
			(end + FOLIO_PAGE_SIZE - 1) / FOLIO_PAGE_SIZE);
		file->fake.changes++;
	}
	trace_locked(sim, SIM_PUNCH, file, offset, len, -error);
	pthread_mutex_unlock(&sim->lock);
	return -error;
}

static int sim_flush(void *context, void *opened)
{
	struct sim *sim = context;
	struct handle *handle = opened;
	int error;

	pthread_mutex_lock(&sim->lock);
	error = begin_call_locked(sim, handle, SIM_FLUSH, 0, 0);
	if (handle->power_cycle == sim->power_cycle && !sim->cut)
		confirm_locked(handle->file, !error);
	trace_locked(sim, SIM_FLUSH, handle->file, 0, 0, -error);
	pthread_mutex_unlock(&sim->lock);
	return -error;
}

const struct folio_io_ops sim_ops = {
	.size = sizeof(sim_ops),
	.name = "sim",
	.create = sim_create,
	.destroy = sim_destroy,
	.open = sim_open,
	.close = sim_close,
	.getattr = sim_getattr,
	.read = sim_read,
	.submit = sim_submit,
	.sync = sim_sync,
	.truncate = sim_truncate,
	.punch = sim_punch,
	.features = FOLIO_IO_CAN_PROBE,
	.open_fd = sim_open_fd,
	.flush = sim_flush,
};

/* ---- what happened ---- */

#define LOCKED_GETTER(type, name, expression)     \
	type name(struct sim *sim)                \
	{                                         \
		type value;                       \
                                                  \
		pthread_mutex_lock(&sim->lock);   \
		value = expression;               \
		pthread_mutex_unlock(&sim->lock); \
		return value;                     \
	}

LOCKED_GETTER(unsigned, sim_in_flight_max, sim->in_flight_max)
LOCKED_GETTER(uint64_t, sim_trace, sim->trace)
LOCKED_GETTER(const char *, sim_complaint, sim->complaint[0] ? sim->complaint : NULL)

uint64_t sim_calls(struct sim *sim, enum sim_op op)
{
	uint64_t calls;

	pthread_mutex_lock(&sim->lock);
	calls = sim->calls[op];
	pthread_mutex_unlock(&sim->lock);
	return calls;
}

uint64_t sim_injected(struct sim *sim, enum sim_op op)
{
	uint64_t injected;

	pthread_mutex_lock(&sim->lock);
	injected = sim->injected[op];
	pthread_mutex_unlock(&sim->lock);
	return injected;
}

uint64_t sim_failed(struct sim_file *file, enum sim_op op)
{
	uint64_t failed;

	pthread_mutex_lock(&file->sim->lock);
	failed = file->failed[op];
	pthread_mutex_unlock(&file->sim->lock);
	return failed;
}

uint64_t sim_failed_idle(struct sim_file *file, enum sim_op op)
{
	struct sim *sim = file->sim;
	uint64_t failed;

	pthread_mutex_lock(&sim->lock);
	while (sim->waiting || sim->running)
		pthread_cond_wait(&sim->event, &sim->lock);
	failed = file->failed[op];
	pthread_mutex_unlock(&sim->lock);
	return failed;
}

void sim_trace_to(struct sim *sim, FILE *to)
{
	pthread_mutex_lock(&sim->lock);
	sim->trace_to = to;
	pthread_mutex_unlock(&sim->lock);
}

void sim_observe_writes(struct sim *sim,
	void (*observe)(void *arg, struct sim_file *file, uint64_t offset, uint64_t len), void *arg)
{
	pthread_mutex_lock(&sim->lock);
	sim->observe = observe;
	sim->observe_arg = arg;
	pthread_mutex_unlock(&sim->lock);
}

/* ---- the device ---- */

struct sim *sim_new(uint64_t seed, enum sim_mode mode)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	must(sim, "no memory");
	sim->mode = mode;
	sim->random_order = next_random(&seed);
	sim->random_fault = next_random(&seed);
	sim->random_tear = next_random(&seed);
	sim->random_cut = next_random(&seed);
	sim->random_delay = next_random(&seed);
	sim->capacity = UINT64_MAX;
	sim->power_cycle = 1;
	pthread_mutex_init(&sim->lock, NULL);
	pthread_cond_init(&sim->work, NULL);
	pthread_cond_init(&sim->event, NULL);
	return sim;
}

void sim_free(struct sim *sim)
{
	unsigned i;

	if (!sim)
		return;
	for (i = 0; i < sim->files; i++) {
		struct sim_file *file = sim->file[i];

		history_free(file->history);
		free(file->survivor);
		free(file->accepted);
		free(file->lost);
		free(file->has_page);
		free(file->data);
		free(file->path);
		free(file);
	}
	pthread_cond_destroy(&sim->event);
	pthread_cond_destroy(&sim->work);
	pthread_mutex_destroy(&sim->lock);
	free(sim);
}
