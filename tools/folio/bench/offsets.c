/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/offsets.h"

#include "command.h"
#include "progress.h"

/* Enough different lines to exceed every processor cache: 2^23 lines are 512 MiB. */
#define OFFSETS_MAX (UINT64_C(1) << 23)
#define OFFSETS_MIN (UINT64_C(1) << 16)

static bool fill_offsets(struct worker *worker)
{
	struct offsets *offsets = worker->context;
	uint64_t first = offsets->count * worker->index / worker->threads;
	uint64_t last = offsets->count * (worker->index + 1) / worker->threads;
	uint64_t state = random_mix(worker->index + 1), i, page, line;

	for (i = first; i < last; i++)
		offsets->uniform[i] = (uint32_t)random_below(&state, offsets->lines);
	for (i = first; i < last; i++) {
		/*
		 * Popular pages are scattered over the file; the lines of a page are equally
		 * popular.
		 */
		do {
			page = random_permute(zipf_next(&offsets->curve, &state) - 1,
				offsets->pages, UINT64_C(0xf0110));
			line = page * LINES_PER_PAGE + random_below(&state, LINES_PER_PAGE);
		} while (line >= offsets->lines);
		offsets->zipf[i] = (uint32_t)line;
	}
	return true;
}

/* A page in the middle. The last page of a small file may have fewer lines. */
static void choose_hot(struct offsets *offsets)
{
	uint64_t first = offsets->pages / 2 * LINES_PER_PAGE;
	unsigned i;

	for (i = 0; i < LINES_PER_PAGE; i++)
		offsets->hot[i] = (uint32_t)(first + i < offsets->lines ? first + i : first);
}

bool offsets_make(struct bench *bench, uint64_t size, struct offsets *offsets)
{
	offsets->lines = size / LINE_SIZE;
	if (offsets->lines > UINT32_MAX) {
		offsets->lines = UINT32_MAX;
		report_note(&bench->report,
			"64-byte lines are taken from the first 256 GiB of the file.");
	}
	offsets->pages = (offsets->lines + LINES_PER_PAGE - 1) / LINES_PER_PAGE;
	offsets->count = OFFSETS_MIN;
	while (offsets->count < OFFSETS_MAX && offsets->count < 4 * offsets->lines)
		offsets->count *= 2;
	zipf_init(&offsets->curve, offsets->pages, ZIPF_EXPONENT);
	offsets->uniform = huge_alloc(offsets->count * sizeof(*offsets->uniform));
	offsets->zipf = huge_alloc(offsets->count * sizeof(*offsets->zipf));
	if (!offsets->uniform || !offsets->zipf) {
		complain("out of memory");
		return false;
	}
	choose_hot(offsets);
	progress("choosing offsets");
	return workers_each(bench->workers, bench->threads, fill_offsets, offsets);
}

void offsets_free(struct offsets *offsets)
{
	if (offsets->uniform)
		huge_free(offsets->uniform, offsets->count * sizeof(*offsets->uniform));
	if (offsets->zipf)
		huge_free(offsets->zipf, offsets->count * sizeof(*offsets->zipf));
}

void offsets_spread(struct bench *bench, const struct offsets *offsets)
{
	unsigned i;

	for (i = 0; i < bench->threads; i++)
		workers_get(bench->workers, i)->position = offsets->count / bench->threads * i;
}
