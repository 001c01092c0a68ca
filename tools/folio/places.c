/* SPDX-License-Identifier: BSD-2-Clause */
#include "places.h"

#include "command.h"
#include "progress.h"

/* So many different places that no processor's cache holds them all: 2^23 lines are 512 MiB. */
#define PLACES_MAX (UINT64_C(1) << 23)
#define PLACES_MIN (UINT64_C(1) << 16)

static bool fill_places(struct worker *worker)
{
	struct places *places = worker->context;
	uint64_t first = places->count * worker->index / worker->threads;
	uint64_t last = places->count * (worker->index + 1) / worker->threads;
	uint64_t state = random_mix(worker->index + 1), i, page, line;

	for (i = first; i < last; i++)
		places->uniform[i] = (uint32_t)random_below(&state, places->lines);
	for (i = first; i < last; i++) {
		/* Popular pages lie anywhere, not side by side; the lines of a page are equally popular. */
		do {
			page = random_permute(zipf_next(&places->curve, &state) - 1, places->pages,
				UINT64_C(0xf0110));
			line = page * LINES_PER_PAGE + random_below(&state, LINES_PER_PAGE);
		} while (line >= places->lines);
		places->zipf[i] = (uint32_t)line;
	}
	return true;
}

/* In the middle; the last page of a small file may have fewer lines. */
static void choose_hot(struct places *places)
{
	uint64_t first = places->pages / 2 * LINES_PER_PAGE;
	unsigned i;

	for (i = 0; i < LINES_PER_PAGE; i++)
		places->hot[i] = (uint32_t)(first + i < places->lines ? first + i : first);
}

bool places_make(struct bench *bench, uint64_t size, struct places *places)
{
	places->lines = size / LINE_SIZE;
	if (places->lines > UINT32_MAX) {
		places->lines = UINT32_MAX;
		report_note(
			&bench->report, "Lines of 64 bytes are of the first 256 GiB of the file.");
	}
	places->pages = (places->lines + LINES_PER_PAGE - 1) / LINES_PER_PAGE;
	places->count = PLACES_MIN;
	while (places->count < PLACES_MAX && places->count < 4 * places->lines)
		places->count *= 2;
	zipf_init(&places->curve, places->pages, ZIPF_EXPONENT);
	places->uniform = huge_alloc(places->count * sizeof(*places->uniform));
	places->zipf = huge_alloc(places->count * sizeof(*places->zipf));
	if (!places->uniform || !places->zipf) {
		complain("out of memory");
		return false;
	}
	choose_hot(places);
	progress("choosing places");
	return team_each(bench->team, bench->threads, fill_places, places);
}

void places_free(struct places *places)
{
	if (places->uniform)
		huge_free(places->uniform, places->count * sizeof(*places->uniform));
	if (places->zipf)
		huge_free(places->zipf, places->count * sizeof(*places->zipf));
}

void places_spread(struct bench *bench, const struct places *places)
{
	unsigned i;

	for (i = 0; i < bench->threads; i++)
		team_worker(bench->team, i)->position = places->count / bench->threads * i;
}
