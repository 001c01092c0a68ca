/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ref-debug.h - what ref.h adds when FOLIO_REF_DEBUG is defined. Included by ref.h alone.
 *
 * Each operation becomes a macro that passes its file and line. A table, shared by the whole
 * program and addressed by the word's address, remembers the last changes of each word; words
 * whose addresses collide share a line of it, so every change carries the word's address. The
 * table is written without order, on purpose: it must not hide the races that it is there to show.
 */
#ifndef FOLIO_REF_DEBUG_H
#define FOLIO_REF_DEBUG_H

#include <stdio.h>
#include <stdlib.h>

#define FOLIO_REF_AT_PARAMETERS_ 1

enum folio_ref_op {
	FOLIO_REF_OP_NONE,
	FOLIO_REF_OP_TRY_GET,
	FOLIO_REF_OP_GET,
	FOLIO_REF_OP_PUT,
	FOLIO_REF_OP_FREEZE,
	FOLIO_REF_OP_UNFREEZE,
};

/* One change of a word: what it held before, and where in the program it was changed. */
struct folio_ref_change {
	const void *ref;
	const char *file;
	int line;
	uint32_t op;
	uint32_t count;
	uint32_t before;
};

#define FOLIO_REF_HISTORY_WORDS   1024
#define FOLIO_REF_HISTORY_CHANGES 8

struct folio_ref_history {
	folio_u32 next;
	struct folio_ref_change change[FOLIO_REF_HISTORY_CHANGES];
};

struct folio_ref; /* defined by ref.h before this file is included */

/* weak: one table in the program however many files include this header. */
__attribute__((weak)) struct folio_ref_history folio_ref_history[FOLIO_REF_HISTORY_WORDS];

static inline struct folio_ref_history *folio_ref_history_of_(const void *ref)
{
	uintptr_t key = (uintptr_t)ref;

	return &folio_ref_history[(key >> 2 ^ key >> 6 ^ key >> 16) % FOLIO_REF_HISTORY_WORDS];
}

#if defined(__GNUC__) && !defined(__clang__)
#define FOLIO_REF_NO_TSAN_ __attribute__((no_sanitize_thread))
#else
#define FOLIO_REF_NO_TSAN_ __attribute__((no_sanitize("thread")))
#endif

/* Prints the remembered changes of @ref, oldest first, on standard error. */
FOLIO_REF_NO_TSAN_
static inline void folio_ref_print_history(const struct folio_ref *ref)
{
	static const char *const name[] = {"none", "try_get", "get", "put", "freeze", "unfreeze"};
	const struct folio_ref_history *history = folio_ref_history_of_(ref);
	uint32_t next = history->next;
	uint32_t i;

	for (i = 0; i < FOLIO_REF_HISTORY_CHANGES; i++) {
		const struct folio_ref_change *change =
			&history->change[(next + i) % FOLIO_REF_HISTORY_CHANGES];

		if (change->ref == (const void *)ref)
			fprintf(stderr, "  %s:%d: %s %u, the word was 0x%08x\n", change->file,
				change->line, name[change->op], change->count, change->before);
	}
}

/*
 * Called on misuse, on the thread that misused. The default prints the history and aborts; a test
 * puts its own here.
 */
static inline void folio_ref_misuse_default_(
	const struct folio_ref *ref, const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: folio_ref %p: %s\n", file, line, (const void *)ref, what);
	folio_ref_print_history(ref);
	abort();
}

typedef void folio_ref_misuse_fn(
	const struct folio_ref *ref, const char *what, const char *file, int line);

__attribute__((weak)) folio_ref_misuse_fn *folio_ref_on_misuse = folio_ref_misuse_default_;

FOLIO_REF_NO_TSAN_
static inline void folio_ref_note_(const struct folio_ref *ref, enum folio_ref_op op, uint32_t n,
	uint32_t before, const char *file, int line)
{
	struct folio_ref_history *history = folio_ref_history_of_(ref);
	uint32_t at = folio_u32_fetch_add_relaxed(&history->next, 1) % FOLIO_REF_HISTORY_CHANGES;
	struct folio_ref_change *change = &history->change[at];
	const char *what = NULL;
	bool frozen = before & FOLIO_REF_FROZEN;

	change->ref = ref;
	change->file = file;
	change->line = line;
	change->op = op;
	change->count = n;
	change->before = before;
	switch (op) {
	case FOLIO_REF_OP_TRY_GET:
		if (n == 0 || n > FOLIO_REF_COUNT_MAX)
			what = "try_get of a count out of range";
		else if (!frozen && before + n > FOLIO_REF_MAX)
			what = "more references than FOLIO_REF_MAX: a leak";
		break;
	case FOLIO_REF_OP_GET:
		if (frozen)
			what = "get on a frozen object";
		else if (before == 0)
			what = "get without a reference";
		else if (n == 0 || n > FOLIO_REF_COUNT_MAX)
			what = "get of a count out of range";
		else if (before + n > FOLIO_REF_MAX)
			what = "more references than FOLIO_REF_MAX: a leak";
		break;
	case FOLIO_REF_OP_PUT:
		if (frozen)
			what = "put on a frozen object";
		else if (before < n)
			what = "unbalanced put: more put than was taken";
		else if (n == 0)
			what = "put of nothing";
		break;
	case FOLIO_REF_OP_FREEZE:
		/* Noted when it has succeeded: the word was what the caller expected it to be. */
		if (frozen)
			what = "try_freeze of a frozen object: it is somebody else's";
		else if (before == 0)
			what = "try_freeze at zero: it is the putter's";
		break;
	case FOLIO_REF_OP_UNFREEZE:
		if (!frozen)
			what = "unfreeze of an object that is not frozen";
		else if (n == 0 || n > FOLIO_REF_MAX)
			what = "unfreeze with a count out of range";
		break;
	default:
		break;
	}
	if (what)
		folio_ref_on_misuse(ref, what, file, line);
}

#define FOLIO_REF_NOTE_(ref, op, n, seen) folio_ref_note_(ref, op, n, seen, file, line)

#define folio_ref_try_get_n(ref, n)       folio_ref_try_get_n_at_(ref, n, __FILE__, __LINE__)
#define folio_ref_get_n(ref, n)           folio_ref_get_n_at_(ref, n, __FILE__, __LINE__)
#define folio_ref_put_n(ref, n)           folio_ref_put_n_at_(ref, n, __FILE__, __LINE__)
#define folio_ref_try_freeze(ref, n)      folio_ref_try_freeze_at_(ref, n, __FILE__, __LINE__)
#define folio_ref_unfreeze(ref, n)        folio_ref_unfreeze_at_(ref, n, __FILE__, __LINE__)
#define folio_ref_try_get(ref)            folio_ref_try_get_n(ref, 1)
#define folio_ref_get(ref)                folio_ref_get_n(ref, 1)
#define folio_ref_put(ref)                folio_ref_put_n(ref, 1)

#endif
