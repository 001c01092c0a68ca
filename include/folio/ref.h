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
 *   live       the number of references
 *   refused    more references than a correct program takes: a leak or an attack; try_get fails
 *   zero       transient: exists only between the subtraction of a put and its compare-and-swap
 *   frozen     bit 31: free, being released, or held exclusively by a freezer. The low bits contain
 *              junk left by gets that failed. Test the bit; never compare for equality.
 *
 * It scales because try_get is one unconditional add. Five rules make that correct:
 *
 *   R1  A put that brings the count to zero does CAS(0 -> frozen). One thread wins; the others do
 *       not touch the object again.
 *   R2  The winner releases the object according to the object's own data (its type, its owner),
 *       read after the CAS, and not according to what the winner took the object to be.
 *   R3  A successful try_get proves nothing about identity: look the object up again where it was
 *       found. If it is no longer there, put the reference; that put may make the caller the
 *       releaser.
 *   R4  An object leaves visibility before the reference that made it visible is dropped.
 *   R5  Only unfreeze, a store, ends the frozen state. The memory of the word stays mapped and
 *       writable for ever, because late getters add to it.
 *
 * R1 and R2 handle this race: a put stalls between its subtraction and its CAS.
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
 *                                                                CAS fails: does nothing more
 *     releases: exactly once,
 *     as what the object is now
 *
 * A release can therefore run on any thread that ever held a reference to an earlier use of the
 * same memory, with whatever locks that thread holds. So a release takes no lock that such a
 * thread may hold, and does not block.
 *
 * Source of the method: the Linux series "mm: improve folio refcount scalability" (I. Gladyshev,
 * I. Gorbunov, 2025-2026) and L. Torvalds' mail on it of 21 June 2026. Unlike in the sticky counter
 * of Anderson, Blelloch and Wei (PLDI 2022), a reset (unfreeze) may race with late increments here.
 *
 * Memory orders, and what each pairs with:
 *
 *   put, subtraction   release   pairs with the acquire of the winning CAS, and with the acquire of
 *                                a try_get that reads the subtracted value. The releaser sees what
 *                                the holder did to the object and the erase that came before the
 *                                put (R4); so does a getter before it looks the object up again.
 *   put, winning CAS   acquire   the winner may not be the thread that subtracted last (the race
 *                                above), so its own subtraction orders nothing. Without the
 *                                acquire, the releaser can read object data from before the last
 *                                put.
 *   try_get            acquire   pairs with unfreeze (release) and put (release); keeps the lookup
 *                                of R3 after the get. Without it, R3 can look before the reference
 *                                is held.
 *   try_freeze         acq_rel   acquire: sees what former holders did. release: a thread that acts
 *                                on the frozen state sees what the freezer did before.
 *   unfreeze           release   pairs with try_get: a getter of the new use sees the object set
 *                                up.
 *   get                relaxed   the caller already owns a reference; there is nothing to order.
 *   junk reset         relaxed   changes only the word, and the word is frozen throughout.
 *
 * All calls may run concurrently on any threads, except that only the holder of the frozen object
 * may call unfreeze and init_frozen.
 *
 * With FOLIO_REF_DEBUG defined, each operation is checked (put on a frozen word, get without a
 * reference, unbalanced put, unfreeze of a word that is not frozen), the last changes of each word
 * are recorded, and misuse is reported with file and line of the call through folio_ref_on_misuse.
 */
#ifndef FOLIO_REF_H
#define FOLIO_REF_H

#include <folio/atomic.h>

/*
 * Width of the word in bits. Models and tests reduce it so that they can reach junk and overflow;
 * programs do not define it.
 */
#ifndef FOLIO_REF_BITS
#define FOLIO_REF_BITS 32
#endif

#define FOLIO_REF_FROZEN     (UINT32_C(1) << (FOLIO_REF_BITS - 1))
/* A getter that sees junk past this resets it: a quarter of the range is left for others. */
#define FOLIO_REF_JUNK_LIMIT (FOLIO_REF_FROZEN + (FOLIO_REF_FROZEN >> 1))
/* Further references are refused. */
#define FOLIO_REF_MAX        (FOLIO_REF_FROZEN >> 1)
/*
 * The most references that one call may add. The counter is correct while fewer than 2^14 threads
 * are inside a get at the same time, each with this many (fewer than 2^30 threads with one each).
 * With one more thread, refused references on a live word would reach the frozen half; with another
 * one, junk would carry out of the word (docs/proof.md).
 */
#define FOLIO_REF_COUNT_MAX  (FOLIO_REF_BITS > 16 ? UINT32_C(1) << (FOLIO_REF_BITS - 16) : 1u)

/* One word, 4 bytes. Access it only through the functions below. */
struct folio_ref {
	folio_u32 word;
};

/* Named points at which a torture test pauses to widen a race; empty in a normal build. */
#ifndef FOLIO_REF_PAUSE
#define FOLIO_REF_PAUSE(point) ((void)0)
#endif

#if defined(FOLIO_REF_DEBUG) && !defined(FOLIO_ATOMIC_RELACY)
#include <folio/ref-debug.h>
#else
#define FOLIO_REF_NOTE_(ref, op, n, seen) ((void)0)
#endif

/**
 * folio_ref_init_frozen - initialize a counter; its first state is frozen
 * @ref: a word that no other thread can reach yet.
 *
 * Called once for the memory of the word. Afterwards, only unfreeze ends the frozen state.
 */
FOLIO_INLINE_ void folio_ref_init_frozen(struct folio_ref *ref)
{
	folio_u32_store_relaxed(&ref->word, FOLIO_REF_FROZEN);
}

/**
 * folio_ref_count - the number of references
 * @ref: the counter.
 *
 * Returns the number of references; 0 if the counter is zero or frozen. The result is a hint: other
 * threads may change it at any time, and a count of 1 proves no exclusivity (only try_freeze does).
 */
FOLIO_INLINE_ uint32_t folio_ref_count(const struct folio_ref *ref)
{
	uint32_t value = folio_u32_load_relaxed(&ref->word);

	return value & FOLIO_REF_FROZEN ? 0 : value;
}

/** folio_ref_is_frozen - true if frozen; a hint as folio_ref_count, unless the caller froze it. */
FOLIO_INLINE_ bool folio_ref_is_frozen(const struct folio_ref *ref)
{
	return folio_u32_load_relaxed(&ref->word) & FOLIO_REF_FROZEN;
}

/*
 * The rest of a get that did not find a live count below the limit. Cold: a reader comes here when
 * it loses to a freezer. Returns true if the reference is valid after all.
 */
static inline bool folio_ref_try_get_slow_(struct folio_ref *ref, uint32_t n, uint32_t value)
{
	if (value & FOLIO_REF_FROZEN) {
		/*
		 * Never subtract: the word may have been unfrozen for a new use since then, and the
		 * subtraction would take a reference of that use. The junk stays until unfreeze
		 * overwrites it, or until it could carry out of the word: then a CAS resets it,
		 * which fails if a new use has begun.
		 */
		while (value >= FOLIO_REF_JUNK_LIMIT) {
			FOLIO_REF_PAUSE(junk_reset);
			if (folio_u32_cas_relaxed(&ref->word, &value, FOLIO_REF_FROZEN))
				break;
		}
		return false;
	}
	/*
	 * Past FOLIO_REF_MAX on a live object. Back out while the count stays past the limit: then
	 * the result of the subtraction is never zero, so no thread becomes the releaser here. If
	 * other threads have put references in the meantime, this one is as valid as any other.
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
 * folio_ref_try_get_n - take references to an object that may be gone
 * @ref: the counter of an object found without a lock.
 * @n: how many references, 1 .. FOLIO_REF_COUNT_MAX.
 *
 * One unconditional add. A get that meets the transient zero succeeds and so cancels the release in
 * flight. After success, the caller must check that the object is still where it was found (R3).
 *
 * Returns true with @n references; false if the object is frozen or has more than FOLIO_REF_MAX
 * references: then the caller has nothing to undo.
 */
FOLIO_INLINE_ bool FOLIO_REF_FUNCTION_(try_get_n, struct folio_ref *ref, uint32_t n)
{
	/* acquire: pairs with unfreeze and with the subtraction of put; see the table above. */
	uint32_t value = folio_u32_fetch_add_acquire(&ref->word, n) + n;

	FOLIO_REF_NOTE_(ref, FOLIO_REF_OP_TRY_GET, n, value - n);
	if (__builtin_expect(value <= FOLIO_REF_MAX, 1))
		return true;
	return folio_ref_try_get_slow_(ref, n, value);
}

/**
 * folio_ref_get_n - take more references
 * @ref: a counter of which the caller owns a reference.
 * @n: how many, 1 .. FOLIO_REF_COUNT_MAX.
 *
 * Cannot refuse. If the caller cannot bound the number of references, it must use try_get.
 */
FOLIO_INLINE_ void FOLIO_REF_FUNCTION_(get_n, struct folio_ref *ref, uint32_t n)
{
	/* relaxed: the caller's own reference keeps the object alive. */
	uint32_t seen = folio_u32_fetch_add_relaxed(&ref->word, n);

	(void)seen;
	FOLIO_REF_NOTE_(ref, FOLIO_REF_OP_GET, n, seen);
}

/**
 * folio_ref_put_n - drop references
 * @ref: the counter.
 * @n: how many of the caller's references, 1 or more.
 *
 * Never loops.
 *
 * Returns true if the caller froze the object and must now release it, according to the object's
 * own data (R2); false if the caller must not access the object any longer.
 */
FOLIO_INLINE_ bool FOLIO_REF_FUNCTION_(put_n, struct folio_ref *ref, uint32_t n)
{
	/* release: pairs with the CAS below, on the thread that wins it, and with try_get. */
	uint32_t value = folio_u32_fetch_sub_release(&ref->word, n) - n;

	FOLIO_REF_NOTE_(ref, FOLIO_REF_OP_PUT, n, value + n);
	if (__builtin_expect(value != 0, 1))
		return false;
	FOLIO_REF_PAUSE(put_before_freeze);
	/*
	 * acquire: the zero that this CAS replaces may not be the one seen above. It may come from
	 * another thread's subtraction in a later use of the object.
	 */
	value = 0;
	return folio_u32_cas_acquire(&ref->word, &value, FOLIO_REF_FROZEN);
}

/**
 * folio_ref_try_freeze - take exclusive ownership of an object
 * @ref: a counter of which the caller knows that @expected references exist.
 * @expected: the exact count at which ownership is exclusive, 1 or more.
 *
 * A freeze does not stop a reader that takes no reference: the freezer must also change the version
 * (folio.h).
 *
 * Returns true if the count was @expected: all these references now belong to the caller, and gets
 * fail until unfreeze. False if another thread holds a reference or froze the object first: then
 * nothing is changed.
 */
FOLIO_INLINE_ bool FOLIO_REF_FUNCTION_(try_freeze, struct folio_ref *ref, uint32_t expected)
{
	/* acquire: pairs with put; release: for a thread that acts on the frozen word. */
	bool won = folio_u32_cas_acq_rel(&ref->word, &expected, FOLIO_REF_FROZEN);

	if (won)
		FOLIO_REF_NOTE_(ref, FOLIO_REF_OP_FREEZE, 0, expected);
	return won;
}

/**
 * folio_ref_unfreeze - begin a new use of a frozen object
 * @ref: a counter that the caller holds frozen.
 * @count: number of references at the start of the new use, 1 .. FOLIO_REF_MAX; never 0: a late
 *         getter could revive a stored zero, and the object would be released twice.
 *
 * A store: it overwrites the junk of failed gets. It is the only end of the frozen state (R5).
 */
FOLIO_INLINE_ void FOLIO_REF_FUNCTION_(unfreeze, struct folio_ref *ref, uint32_t count)
{
	FOLIO_REF_NOTE_(ref, FOLIO_REF_OP_UNFREEZE, count, folio_u32_load_relaxed(&ref->word));
	/* release: pairs with try_get, which sees the object as it was set up before this store. */
	folio_u32_store_release(&ref->word, count);
}

#ifndef FOLIO_REF_AT_PARAMETERS_
/** folio_ref_try_get - take one reference to an object that may be gone: folio_ref_try_get_n. */
FOLIO_INLINE_ bool folio_ref_try_get(struct folio_ref *ref)
{
	return folio_ref_try_get_n(ref, 1);
}

/** folio_ref_get - take one more reference: folio_ref_get_n. */
FOLIO_INLINE_ void folio_ref_get(struct folio_ref *ref)
{
	folio_ref_get_n(ref, 1);
}

/** folio_ref_put - drop one reference: folio_ref_put_n. */
FOLIO_INLINE_ bool folio_ref_put(struct folio_ref *ref)
{
	return folio_ref_put_n(ref, 1);
}
#endif

#undef FOLIO_REF_FUNCTION_
#endif
