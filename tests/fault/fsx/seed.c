/* SPDX-License-Identifier: BSD-2-Clause */
/* seed.c - one seed: what it draws, and its sequence of operations. */
#include "world.h"

static const unsigned kind_weight[] = {
#define X(name, weight) weight,
	OPERATIONS
#undef X
};

struct world world;

/* Chooses again, at random intervals, which calls fail and when the power does. */
static void draw_fault_profile(struct world *w)
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
		sim_fail_randomly(w->sim, SIM_FLUSH, one_in(w, 2) ? 30000 : 0, EIO);
		sim_set_capacity(w->sim, one_in(w, 3) ? below(w, w->max) : UINT64_MAX);
		if (w->disk && one_in(w, 3))
			sim_fail_range(w->disk, one_in(w, 2) ? SIM_READ : SIM_WRITE,
				w->base + below(w, w->max), 1 + below(w, LENGTH_MAX), EIO,
				one_in(w, 2));
		else if (w->disk)
			sim_fail_range(
				w->disk, one_in(w, 2) ? SIM_READ : SIM_WRITE, 0, 0, 0, false);
		resume_faults(w);
	}
	if (w->cuts && one_in(w, 2))
		sim_cut_at(w->sim, 1 + below(w, 200));
}

/*
 * In half of the worlds the model is a part of the file that is far from its beginning: around
 * 4 GiB, around 2^32 pages, or up to the largest size of all. Not every file system allows these.
 */
static void choose_base(struct world *w, uint64_t which)
{
	if (which == 0 || options.path) {
		w->base = (UINT64_C(1) << 32) - w->max / 2;
	} else if (which == 1) {
		w->base = (UINT64_C(1) << 44) - w->max / 2;
	} else {
		w->base = (UINT64_C(1) << 63) - w->max;
		w->limit = w->max - 1;
	}
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
	w->limit = w->max;
	w->pages = w->max / PAGE;
	/* All four combinations occur. */
	w->faults = seed & 1 && !options.no_faults && !options.path;
	w->cuts = seed & 2 && !options.no_cuts && !options.path;
	w->tracks = w->faults || w->cuts;
	w->sequences = DRAW(3) == 0;
	w->mode = DRAW(4) == 0 ? SIM_INLINE : SIM_THREAD;
	for (i = 0; i < KINDS; i++) {
		w->weight[i] = kind_weight[i] * factor[DRAW(4)];
		/* On a real device these take most of the time. */
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
		.closed_files_max = DRAW(2),
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
	if (DRAW(2))
		choose_base(w, DRAW(3));
	if (w->sim)
		sim_set_base(w->sim, w->base);
#undef DRAW
}

/* The file begins with a hole, which is durable. */
static void make_hole(struct world *w)
{
	struct folio_file *file = w->handle[0].file;
	int r = folio_file_truncate(file, w->base);

	if (!r)
		r = folio_file_sync(file, NULL, 0);
	if (r)
		differ(w, "a file with a hole of %#llx bytes cannot be made: %s",
			(unsigned long long)w->base, strerror(-r));
}

static enum kind draw_kind(struct world *w)
{
	uint64_t at = below(w, w->weights);
	unsigned kind = 0;

	while (at >= w->weight[kind])
		at -= w->weight[kind++];
	return kind;
}

/* No operation reads past the end of the file, as far as it is known before. */
static void bound_reads(struct world *w, enum kind kind)
{
	bool may_grow = kind == WRITE || kind == APPEND || kind == GROW || kind == REOPEN ||
			kind == REOPEN_ALL;

	if (w->disk)
		sim_set_end(w->disk, may_grow ? UINT64_MAX : w->base + w->size);
}

static void operate(struct world *w)
{
	enum kind kind;

	if (w->operation >= w->quiet_until && w->sim)
		draw_fault_profile(w);
	kind = draw_kind(w);
	if (w->operation - w->last_sync > SYNC_AT_LEAST && w->operation % 64 == 0)
		kind = SYNC;
	w->now = &w->last[w->operation % LAST_OPERATIONS];
	*w->now = (struct operation){
		.number = w->operation, .kind = kind, .handle = -1, .size = w->size};
	w->totals.count[kind]++;
	w->operation++;
	/* Failed opens may have left no handle. */
	if (!w->handle[0].file && kind != REOPEN_ALL)
		open_handle(w, &w->handle[0], true);
	bound_reads(w, kind);
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
	case DISCARD:
		do_discard(w);
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
		differ(w, "the cache violates the contract of the backend: %s",
			sim_complaint(w->sim));
	if (atomic_load(&w->sequence_bad))
		differ(w, "page %llu was written before its log",
			(unsigned long long)atomic_load(&w->sequence_bad) - 1);
	if (is_cut(w))
		recover(w);
	else if (w->handle[0].file && folio_file_size(w->handle[0].file) != w->base + w->size)
		differ(w, "the size is %#llx, expected %#llx",
			(unsigned long long)folio_file_size(w->handle[0].file),
			(unsigned long long)(w->base + w->size));
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
		/* The rest is in no state to be freed. */
		good = false;
		goto out;
	}
	if (open_world(w) && w->base)
		make_hole(w);
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
bool run_seeds(uint64_t job, struct totals *totals)
{
	bool good = true;
	uint64_t i;

	for (i = job; i < options.seeds && (good || options.go_on); i += options.jobs)
		good = run_seed(options.seed + i, totals) && good;
	return good;
}
