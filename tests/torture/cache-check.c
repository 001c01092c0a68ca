/* SPDX-License-Identifier: BSD-2-Clause */
/* cache-check.c - the oracle of mode cache: which bytes, sizes and errors a reader may see. */
#include <errno.h>
#include <string.h>

#include "cache-mode.h"

void view(struct view *seen, const struct file *of, uint64_t index, uint64_t last)
{
	unsigned i;

	seen->of = of;
	seen->first = index / REGION_PAGES;
	seen->regions = 0;
	/* acquire: the call sees the change that raised it. */
	for (i = 0; i < VIEW_REGIONS && seen->first + i < of->regions &&
		    seen->first + i <= last / REGION_PAGES;
		i++)
		seen->oldest[seen->regions++] = folio_u64_load_acquire(&of->done[seen->first + i]);
	seen->resizes = folio_u64_load_acquire(&of->resizes);
	seen->size = folio_u64_load_acquire(&of->size);
}

/* True if the size was seen->size from before the call until now. */
bool size_unchanged(const struct view *seen)
{
	/*
	 * Not reordered before the loads of the call: those are acquires, or are validated by one.
	 */
	return !(seen->resizes & 1) && folio_u64_load_acquire(&seen->of->resizes) == seen->resizes;
}

uint64_t now_of(const struct file *of, uint64_t index)
{
	return folio_u64_load_acquire(&of->now[index / REGION_PAGES]);
}

uint64_t oldest_of(const struct view *seen, uint64_t index)
{
	uint64_t region = index / REGION_PAGES;

	/* For a region outside of the view nothing is known. */
	return region >= seen->first && region - seen->first < seen->regions
		       ? seen->oldest[region - seen->first]
		       : 0;
}

bool all_zero(const char *data, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (data[i])
			return false;
	return true;
}

static void wrong(const char *how, const struct view *seen, uint64_t index, size_t offset,
	const struct label *found, enum violation kind)
{
	violation(kind,
		"%s of file %u page %lu byte %zu (oldest %lu, now %lu): file %u page %lu "
		"generation %lu",
		how, seen->of->number, (unsigned long)index, offset,
		(unsigned long)oldest_of(seen, index), (unsigned long)now_of(seen->of, index),
		found->file, (unsigned long)found->index, (unsigned long)found->generation);
}

/* After @matching matching bytes the contents differ: report them, by the next complete word. */
static void torn(const char *how, const struct view *seen, uint64_t index, const char *data,
	size_t offset, size_t len, size_t matching, const struct label *first)
{
	size_t at = matching + (8 - (offset + matching) % 8) % 8;
	struct label second = {0};
	uint64_t word = 0;
	bool known = false;

	if (at + 8 <= len) {
		memcpy(&word, data + at, 8);
		known = label_of(word - (offset + at) / 8 * WORD_STEP, &second);
	}
	violation(VIOLATION_TORN,
		"%s of file %u page %lu, %zu bytes from byte %zu (oldest %lu, now %lu): generation "
		"%lu, then from byte %zu "
		"%s word %#lx: file %u page %lu generation %lu",
		how, seen->of->number, (unsigned long)index, len, offset,
		(unsigned long)oldest_of(seen, index), (unsigned long)now_of(seen->of, index),
		(unsigned long)first->generation, offset + matching,
		known ? "a known" : "an unknown", (unsigned long)word, second.file,
		(unsigned long)second.index, (unsigned long)second.generation);
}

/*
 * check_page for a call during which the size changed. A read that reached the end and found that
 * the file had grown continues, so contents of one generation may be followed by those of another,
 * and there may be zeros past the old end.
 */
static uint64_t check_moving(const char *how, const struct view *seen, uint64_t index,
	const char *data, size_t offset, size_t len)
{
	struct label label = {seen->of->number, index, 0};
	uint64_t now = now_of(seen->of, index), first = UINT64_MAX, generation, best;
	unsigned pieces = 0;
	size_t at, n, most;

	for (at = 0; at < len && !all_zero(data + at, len - at); at += most) {
		for (most = 0, best = 0, generation = oldest_of(seen, index); generation <= now;
			generation++) {
			label.generation = generation;
			n = label_check(data + at, offset + at, len - at, label);
			if (n > most) {
				most = n;
				best = generation;
			}
		}
		if (most == 0 || pieces++ == 3) {
			label.generation = first == UINT64_MAX ? 0 : first;
			torn(how, seen, index, data, offset, len, at, &label);
			break;
		}
		if (at == 0)
			first = best;
	}
	return first;
}

/*
 * Checks @len bytes of page @index, from @offset in the page. The first @contents bytes are
 * contents, the rest must be zero. @strict: the size did not change throughout. Returns the
 * generation, or UINT64_MAX if it cannot be determined.
 */
uint64_t check_page(const char *how, const struct view *seen, uint64_t index, const char *data,
	size_t offset, size_t len, size_t contents, bool strict)
{
	const struct file *of = seen->of;
	struct label label = {0};
	uint64_t oldest = oldest_of(seen, index), now = now_of(of, index), word;
	size_t skip = (8 - offset % 8) % 8, matching;

	if (!all_zero(data + contents, len - contents))
		wrong(how, seen, index, offset + contents, &label, VIOLATION_ZERO);
	if (!contents)
		return UINT64_MAX;
	if (!strict)
		return check_moving(how, seen, index, data, offset, contents);
	if (skip + 8 <= contents) {
		memcpy(&word, data + skip, 8);
		if (!label_of(word - (offset + skip) / 8 * WORD_STEP, &label)) {
			wrong(how, seen, index, offset, &label,
				all_zero(data, contents) ? VIOLATION_ZERO : VIOLATION_GARBAGE);
			return UINT64_MAX;
		}
	} else {
		/* Too short to invert: the bytes must match some generation. */
		label = (struct label){of->number, index, now};
		while (label_check(data, offset, contents, label) < contents &&
			label.generation > oldest)
			label.generation--;
	}
	if (label.file != of->number || label.index != index) {
		wrong(how, seen, index, offset, &label,
			label.file != of->number ? VIOLATION_FOREIGN_FILE
						 : VIOLATION_FOREIGN_INDEX);
		return UINT64_MAX;
	}
	matching = label_check(data, offset, contents, label);
	if (matching < contents)
		torn(how, seen, index, data, offset, contents, matching, &label);
	if (label.generation < oldest)
		wrong(how, seen, index, offset, &label, VIOLATION_STALE);
	if (label.generation > now)
		wrong(how, seen, index, offset, &label, VIOLATION_FUTURE);
	return label.generation;
}

/* Errors that are not violations. */
bool error_allowed(struct worker *worker, ssize_t r, bool nowait)
{
	switch (r) {
	case -ENOMEM:
		worker_add(worker, COUNT_NO_MEMORY, 1);
		return true;
	case -EAGAIN:
		worker_add(worker, COUNT_WOULD_BLOCK, 1);
		return nowait;
	case -EIO:
		worker_add(worker, COUNT_IO_ERRORS, 1);
		return backend_fails();
	default:
		return false;
	}
}
