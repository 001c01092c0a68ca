/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ref-debug.h - the checks of ref.h with FOLIO_REF_DEBUG, for ref.h: programs include that. To
 * include this file does the same.
 *
 * Each operation becomes a macro that passes its file and line. A table for the entire program,
 * indexed by a hash of the word's address, records the last changes of each word. Words whose
 * hashes collide share an entry, so every change contains the word's address. Writes to the table
 * are not ordered, on purpose: they must not hide the races that the table is meant to show.
 */
#ifndef FOLIO_REF_H
#include <folio/ref.h>
#elif !defined(FOLIO_REF_NOTE_) /* ref.h includes this file, and has not got that far */

#include <stdio.h>
#include <stdlib.h>

#define FOLIO_REF_AT_PARAMETERS_  1

enum folio_ref_op {
	FOLIO_REF_OP_NONE,
	FOLIO_REF_OP_TRY_GET,
	FOLIO_REF_OP_GET,
	FOLIO_REF_OP_PUT,
	FOLIO_REF_OP_FREEZE,
	FOLIO_REF_OP_UNFREEZE,
	/* Of the object whose word it is: folio_lock, folio_unlock (write.h). */
	FOLIO_REF_OP_LOCK,
	FOLIO_REF_OP_UNLOCK,
};

/* One change of a word: its value before, and the line of the program that changed it. */
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

/* weak: one table in the program, no matter how many files include this header. */
__attribute__((weak)) struct folio_ref_history folio_ref_history[FOLIO_REF_HISTORY_WORDS];

static inline struct folio_ref_history *folio_ref_history_of_(const void *ref)
{
	uintptr_t key = FOLIO_CAST_(uintptr_t, ref);

	return &folio_ref_history[(key >> 2 ^ key >> 6 ^ key >> 16) % FOLIO_REF_HISTORY_WORDS];
}

#if defined(__GNUC__) && !defined(__clang__)
#define FOLIO_REF_NO_TSAN_ __attribute__((no_sanitize_thread))
#else
#define FOLIO_REF_NO_TSAN_ __attribute__((no_sanitize("thread")))
#endif

/* Prints the recorded changes of @ref to standard error, oldest first. */
FOLIO_REF_NO_TSAN_
static inline void folio_ref_print_history(const struct folio_ref *ref)
{
	static const char *const name[] = {
		"none", "try_get", "get", "put", "freeze", "unfreeze", "lock", "unlock"};
	const struct folio_ref_history *history = folio_ref_history_of_(ref);
	uint32_t next = history->next;
	uint32_t i;

	for (i = 0; i < FOLIO_REF_HISTORY_CHANGES; i++) {
		const struct folio_ref_change *change =
			&history->change[(next + i) % FOLIO_REF_HISTORY_CHANGES];

		if (change->ref == ref)
			fprintf(stderr, "  %s:%d: %s %u, the word was 0x%08x\n", change->file,
				change->line, name[change->op], change->count, change->before);
	}
}

/*
 * The default of folio_ref_on_misuse, which is called on the thread that made the mistake: prints
 * the history and aborts. A test may install its own function.
 */
static inline void folio_ref_misuse_default_(
	const struct folio_ref *ref, const char *what, const char *file, int line)
{
	const void *address = ref;

	fprintf(stderr, "%s:%d: folio_ref %p: %s\n", file, line, address, what);
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
		/* Recorded after success: the word had the value that the caller expected. */
		if (frozen)
			what = "try_freeze of a frozen object: another thread owns it";
		else if (before == 0)
			what = "try_freeze at zero: the thread that put the last reference owns it";
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
