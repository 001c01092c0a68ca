/* SPDX-License-Identifier: BSD-2-Clause */
/* model.c - which calls may fail, and the model: the bytes and the size that the file must have. */
#include "world.h"

bool is_cut(struct world *w)
{
	return w->cuts && sim_is_cut(w->sim);
}

/* Nothing fails from here on, and all failures have been counted. */
void pause_faults(struct world *w)
{
	if (!w->sim)
		return;
	sim_pause(w->sim, true);
	w->callback_refuses = false;
	sim_wait_idle(w->sim);
}

void resume_faults(struct world *w)
{
	if (w->sim)
		sim_pause(w->sim, !w->faults || w->quiet);
	w->callback_refuses = w->faults && w->sequences && !w->quiet;
}

/* A call has failed: demands a reason. */
void failed(struct world *w, int64_t r, const char *what)
{
	w->totals.failed_calls++;
	if (is_cut(w))
		return;
	if (w->faults && (r == -EIO || r == -ENOSPC || r == -ENOMEM || r == -EDQUOT || r == -EPERM))
		return;
	differ(w, "%s failed: %s", what, strerror((int)-r));
}

/*
 * Write-backs that have failed, as each handle must report them; with @idle the cache knows of all.
 */
uint64_t failures(struct world *w, bool idle)
{
	if (!w->sim || !w->disk)
		return 0;
	return (idle ? sim_failed_idle : sim_failed)(w->disk, SIM_WRITE) +
	       sim_failed(w->disk, SIM_SYNC) + w->callback_failed;
}

int before_writeback(void *context, uint64_t sequence)
{
	struct world *w = context;
	uint64_t flushed = atomic_load(&w->sequence_flushed);

	/* On this thread only, so that failures are counted exactly. */
	if (pthread_equal(pthread_self(), w->thread) && w->callback_refuses && one_in(w, 64)) {
		w->callback_failed++;
		return -EIO;
	}
	while (flushed < sequence &&
		!atomic_compare_exchange_weak(&w->sequence_flushed, &flushed, sequence))
		continue;
	return 0;
}

void observe_write(void *arg, struct sim_file *file, uint64_t offset, uint64_t len)
{
	struct world *w = arg;
	uint64_t page, flushed = atomic_load(&w->sequence_flushed);

	offset -= w->base;
	for (page = offset / PAGE; page * PAGE < offset + len; page++)
		if (atomic_load_explicit(&w->sequence[page], memory_order_relaxed) > flushed)
			atomic_store(&w->sequence_bad, page + 1);
}

/* The model's bytes have changed. */
void changed(struct world *w, uint64_t offset, uint64_t len)
{
	uint64_t page;

	if (!len)
		return;
	for (page = offset / PAGE; page * PAGE < offset + len; page++)
		w->generation[page]++;
	if (w->history)
		history_note(w->history, w->model, offset, len);
}

void set_size(struct world *w, uint64_t size)
{
	w->size = size;
	if (size < w->size_min)
		w->size_min = size;
	if (w->history)
		history_note_size(w->history, size);
}

void model_write(struct world *w, const void *buf, uint64_t offset, uint64_t len)
{
	memcpy(w->model + offset, buf, len);
	changed(w, offset, len);
	if (offset + len > w->size)
		set_size(w, offset + len);
}

void model_truncate(struct world *w, uint64_t size)
{
	uint64_t had = w->size, page;
	unsigned i;

	if (size < had) {
		for (i = 0; i < PINS; i++) {
			struct pin *pin = &w->pin[i];
			uint64_t start = pin->index * PAGE;

			/*
			 * The remaining part of a larger folio belongs to the file and keeps
			 * changing.
			 */
			if (!pin->folio || start < size || start >= had || pin->sunk ||
				w->generation[pin->index] != pin->generation ||
				folio_order(pin->folio) > 0)
				continue;
			pin->sunk = pin->len;
			memcpy(pin->copy, w->model + start, pin->sunk);
		}
		memset(w->model + size, 0, had - size);
		/* The device cuts its sector at once, whatever it is. */
		if (w->history)
			history_cut(w->history, size);
		changed(w, size, had - size);
		if (w->sequence)
			for (page = (size + PAGE - 1) / PAGE; page < w->pages; page++)
				atomic_store(&w->sequence[page], 0);
	}
	set_size(w, size);
}

void model_punch(struct world *w, uint64_t offset, uint64_t len)
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

/* The complete range was made durable. */
void model_synced(struct world *w, uint64_t offset, uint64_t len)
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
		/* The size is durable as far as the range has data, which the sectors then show. */
		if (w->history && !w->poisoned)
			history_settle(w->history, w->model, offset / PAGE * PAGE,
				(end + PAGE - 1) / PAGE * PAGE - offset / PAGE * PAGE);
	}
}
