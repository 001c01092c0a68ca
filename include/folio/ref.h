/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ref.h - a reference count in which zero and frozen are two states. Header-only, usable alone.
 *
 * The word is a number line:
 *
 *   0          1 .......... 2^30 ........ 2^31 ............. 3*2^30 ........ 2^32-1
 *   |          |-- live ----|-- refused --|-- frozen --------|-- frozen, ----|
 *   zero       |            |             |  low bits: junk  |   junk reset  |
 *
 *   live       that many references
 *   refused    more references than anything honest takes: a leak or an attack; try_get backs out
 *   zero       transient: seen only between the subtraction of a put and its compare-and-swap
 *   frozen     bit 31: free, being released, or held exclusively by a freezer. The low bits carry
 *              junk of gets that failed. Frozen is a test of the bit, never an equality.
 *
 * What makes it scale: try_get is one unconditional add. What makes that right:
 *
 *   R1  Whoever sees the count go to zero does CAS(0 -> frozen). One wins; the others walk away and
 *       touch nothing.
 *   R2  The winner releases the object by the object's own data (its type, its owner), read after
 *       the CAS, never by what the winner believed the object to be.
 *   R3  A successful try_get proves nothing about identity: look the object up again where it was
 *       found; if it is not there any more, put, which may make the caller the releaser.
 *   R4  An object leaves visibility before the reference that made it visible is dropped.
 *   R5  Frozen ends only with unfreeze, a store. The memory of the word stays mapped and writable
 *       for ever: late getters add to it.
 *
 * The race that R1 and R2 are about: a put that stalls between its subtraction and its CAS.
 *
 *     T1                         T2                              T3
 *     put: 1 -> 0
 *     (stalls)                   try_get: 0 -> 1
 *                                put: 1 -> 0 -> FROZEN
 *                                releases; memory is free
 *                                                                takes the memory for another
 *                                                                use: unfreeze(1)
 *                                                                put: 1 -> 0
 *     CAS 0 -> FROZEN: wins
 *                                                                CAS fails: walks away
 *     releases: exactly once,
 *     as what the object is now
 *
 * Hence a release may run on any thread that ever held a reference to an earlier life of the same
 * memory, with whatever locks that thread holds: a release takes no lock that such a thread may hold
 * and does not block.
 *
 * Source of the method: the Linux series "mm: improve folio refcount scalability" (I. Gladyshev,
 * I. Gorbunov, 2025-2026) and L. Torvalds' mail on it of 21 June 2026. Unlike the sticky counter of
 * Anderson, Blelloch and Wei (PLDI 2022) a reset (unfreeze) may race with late increments here.
 *
 * Ordering, with partners:
 *
 *   put, subtraction   release   pairs with the acquire of the winning CAS and with the acquire of
 *                                a try_get that reads the subtracted value: what the holder did to
 *                                the object, and the erase that came before the put (R4), is seen by
 *                                the releaser, and by a getter before it looks again.
 *   put, winning CAS   acquire   the winner need not be the thread that subtracted last (the race
 *                                above), so its own subtraction orders nothing. Without it the
 *                                releaser can read the object's data from before the last put.
 *   try_get            acquire   pairs with unfreeze (release) and put (release); keeps the look-up
 *                                of R3 after the get. Without it R3 can look before it holds.
 *   try_freeze         acq_rel   acquire: sees what former holders did; release: what the freezer did
 *                                before is seen by whoever acts on the frozen state.
 *   unfreeze           release   pairs with try_get: a getter of the new life sees the object set up.
 *   get                relaxed   the caller owns a reference already; nothing to order.
 *   junk reset         relaxed   touches nothing but the word, and the word says "frozen" throughout.
 *
 * All calls may run beside each other on any threads; unfreeze and init_frozen belong to the one who
 * holds the object frozen.
 *
 * With FOLIO_REF_DEBUG defined, each operation is checked (put on a frozen word, get without a
 * reference, unbalanced put, unfreeze of what is not frozen), the last changes of each word are
 * remembered, and misuse is reported with file and line of the call through folio_ref_on_misuse.
 */
#ifndef FOLIO_REF_H
#define FOLIO_REF_H

#include <folio/atomic.h>

/*
 * Width of the word in bits. Models and tests scale it down so that junk and overflow are within
 * reach; everybody else leaves it alone.
 */
#ifndef FOLIO_REF_BITS
#define FOLIO_REF_BITS 32
#endif

#define FOLIO_REF_FROZEN     (UINT32_C(1) << (FOLIO_REF_BITS - 1))
/* Junk past this is reset by the getter that saw it: a quarter of the range is left for others. */
#define FOLIO_REF_JUNK_LIMIT (FOLIO_REF_FROZEN + (FOLIO_REF_FROZEN >> 1))
/* References past this are refused. */
#define FOLIO_REF_MAX        (FOLIO_REF_FROZEN >> 1)
/*
 * The most that one call may add. The library is right while fewer than 2^14 threads are inside a get at once, each
 * with this many (fewer than 2^30 with one each): with one more, refused references on a live word would reach
 * the frozen half, and with yet one more junk would carry out of the word (docs/proof.md).
 */
#define FOLIO_REF_COUNT_MAX  (FOLIO_REF_BITS > 16 ? UINT32_C(1) << (FOLIO_REF_BITS - 16) : 1u)

/* One word, 4 bytes. Never read or write it but through the functions below. */
struct folio_ref {
	folio_u32 word;
};

/* Named points where a torture test widens a window by a pause; nothing in a normal build. */
#ifndef FOLIO_REF_PAUSE
#define FOLIO_REF_PAUSE(point) ((void)0)
#endif

#if defined(FOLIO_REF_DEBUG) && !defined(FOLIO_ATOMIC_RELACY)
#include <folio/ref-debug.h>
#else
#define FOLIO_REF_NOTE_(ref, op, n, seen) ((void)0)
#endif

/**
 * folio_ref_init_frozen - give memory its first state.
 * @ref: a word that nobody else can reach yet.
 *
 * Called once in the life of the memory. Afterwards only unfreeze ends the frozen state.
 */
static inline void folio_ref_init_frozen(struct folio_ref *ref)
{
	folio_u32_store_relaxed(&ref->word, FOLIO_REF_FROZEN);
}

/**
 * folio_ref_count - how many references there are.
 * @ref: the counter.
 *
 * Returns the number of references, 0 when zero or frozen. A hint: others may change it at any time,
 * and a count of 1 proves no exclusivity (only try_freeze does).
 */
static inline uint32_t folio_ref_count(const struct folio_ref *ref)
{
	uint32_t value = folio_u32_load_relaxed(&((struct folio_ref *)ref)->word);

	return value & FOLIO_REF_FROZEN ? 0 : value;
}

/** folio_ref_is_frozen - a hint like folio_ref_count, unless the caller is the one who froze. */
static inline bool folio_ref_is_frozen(const struct folio_ref *ref)
{
	return folio_u32_load_relaxed(&((struct folio_ref *)ref)->word) & FOLIO_REF_FROZEN;
}

/*
 * A get that did not land on a live count below the limit. Cold: a reader meets it when it loses to
 * a freezer. Returns true where the reference turned out good after all.
 */
static inline bool folio_ref_try_get_slow_(struct folio_ref *ref, uint32_t n, uint32_t value)
{
	if (value & FOLIO_REF_FROZEN) {
		/*
		 * Never subtract: the word may have been given a new life meanwhile, and the
		 * subtraction would take a reference of that life. The junk stays until unfreeze
		 * overwrites it, or until there is so much that it could carry out of the word: then
		 * it is wiped by CAS, which a new life makes fail.
		 */
		while (value >= FOLIO_REF_JUNK_LIMIT) {
			FOLIO_REF_PAUSE(junk_reset);
			if (folio_u32_cas_relaxed(&ref->word, &value, FOLIO_REF_FROZEN))
				break;
		}
		return false;
	}
	/*
	 * Past FOLIO_REF_MAX on a live object. Back out while the count stays past the limit: the
	 * result of the subtraction is then never zero, so nobody is made a releaser here. If others
	 * have put meanwhile, the reference that we hold is as good as any.
	 */
	while (value > FOLIO_REF_MAX) {
		if (folio_u32_cas_relaxed(&ref->word, &value, value - n))
			return false;
	}
	return true;
}

#ifdef FOLIO_REF_AT_PARAMETERS_
#define FOLIO_REF_FUNCTION_(name, ...) \
	folio_ref_##name##_at_(__VA_ARGS__, const char *file, int line)
#else
#define FOLIO_REF_FUNCTION_(name, ...) folio_ref_##name(__VA_ARGS__)
#endif

/**
 * folio_ref_try_get_n - take references to something that may be gone.
 * @ref: the counter of an object found without a lock.
 * @n: how many references, 1 .. FOLIO_REF_COUNT_MAX.
 *
 * One unconditional add. A get that lands on the transient zero succeeds: it calls off the release
 * in flight. After success the caller must check that the object is still where it was found (R3).
 *
 * Returns true with @n references, false when the object is frozen or has more than FOLIO_REF_MAX
 * references; false leaves the caller with nothing to undo.
 */
static inline bool FOLIO_REF_FUNCTION_(try_get_n, struct folio_ref *ref, uint32_t n)
{
	/* acquire: pairs with unfreeze and with the subtraction of put; see the table above. */
	uint32_t value = folio_u32_fetch_add_acquire(&ref->word, n) + n;

	FOLIO_REF_NOTE_(ref, FOLIO_REF_OP_TRY_GET, n, value - n);
	if (__builtin_expect(value <= FOLIO_REF_MAX, 1))
		return true;
	return folio_ref_try_get_slow_(ref, n, value);
}

/**
 * folio_ref_get_n - take more references.
 * @ref: a counter of which the caller owns a reference.
 * @n: how many, 1 .. FOLIO_REF_COUNT_MAX.
 *
 * Cannot refuse: where the number of references is not the caller's own to bound, use try_get.
 */
static inline void FOLIO_REF_FUNCTION_(get_n, struct folio_ref *ref, uint32_t n)
{
	/* relaxed: the caller's own reference keeps the object as it is. */
	uint32_t seen = folio_u32_fetch_add_relaxed(&ref->word, n);

	(void)seen;
	FOLIO_REF_NOTE_(ref, FOLIO_REF_OP_GET, n, seen);
}

/**
 * folio_ref_put_n - give references back.
 * @ref: the counter.
 * @n: how many of the caller's references, 1 or more.
 *
 * Returns true when the caller froze the object and now has to release it, by the object's own data
 * (R2). After false the object is not the caller's any more. Never loops.
 */
static inline bool FOLIO_REF_FUNCTION_(put_n, struct folio_ref *ref, uint32_t n)
{
	/* release: pairs with the CAS below on whatever thread wins it, and with try_get. */
	uint32_t value = folio_u32_fetch_sub_release(&ref->word, n) - n;

	FOLIO_REF_NOTE_(ref, FOLIO_REF_OP_PUT, n, value + n);
	if (__builtin_expect(value != 0, 1))
		return false;
	FOLIO_REF_PAUSE(put_before_freeze);
	/*
	 * acquire: the zero that this CAS meets may be another than the one seen above, left by
	 * another thread's subtraction in a later life of the object.
	 */
	value = 0;
	return folio_u32_cas_acquire(&ref->word, &value, FOLIO_REF_FROZEN);
}

/**
 * folio_ref_try_freeze - take the object for oneself.
 * @ref: a counter of which the caller knows @expected references to exist.
 * @expected: the exact count at which it is exclusive, 1 or more.
 *
 * Returns true when the count was @expected: all those references are the caller's now, gets fail
 * until unfreeze. False when somebody else holds a reference, or froze first; nothing is changed.
 * A reader that takes no reference is not kept out: who freezes must also change the version
 * (folio.h).
 */
static inline bool FOLIO_REF_FUNCTION_(try_freeze, struct folio_ref *ref, uint32_t expected)
{
	/* acquire: pairs with put; release: for whoever acts on the frozen word. */
	bool won = folio_u32_cas_acq_rel(&ref->word, &expected, FOLIO_REF_FROZEN);

	if (won)
		FOLIO_REF_NOTE_(ref, FOLIO_REF_OP_FREEZE, 0, expected);
	return won;
}

/**
 * folio_ref_unfreeze - give a frozen object a life.
 * @ref: a counter that the caller holds frozen.
 * @count: how many references the new life starts with, 1 .. FOLIO_REF_MAX; never 0: a stored zero
 *         can be revived by a late getter, and released twice.
 *
 * A store: it overwrites the junk of failed gets. The only way out of frozen (R5).
 */
static inline void FOLIO_REF_FUNCTION_(unfreeze, struct folio_ref *ref, uint32_t count)
{
	FOLIO_REF_NOTE_(ref, FOLIO_REF_OP_UNFREEZE, count, folio_u32_load_relaxed(&ref->word));
	/* release: pairs with try_get, which sees the object as it was set up before. */
	folio_u32_store_release(&ref->word, count);
}

#ifndef FOLIO_REF_AT_PARAMETERS_
/** folio_ref_try_get - folio_ref_try_get_n of one reference. */
static inline bool folio_ref_try_get(struct folio_ref *ref)
{
	return folio_ref_try_get_n(ref, 1);
}

/** folio_ref_get - folio_ref_get_n of one reference. */
static inline void folio_ref_get(struct folio_ref *ref)
{
	folio_ref_get_n(ref, 1);
}

/** folio_ref_put - folio_ref_put_n of one reference. */
static inline bool folio_ref_put(struct folio_ref *ref)
{
	return folio_ref_put_n(ref, 1);
}
#endif

#undef FOLIO_REF_FUNCTION_
#endif
