/* SPDX-License-Identifier: BSD-2-Clause */
/* share.c - dividing a limited resource among users that differ in speed. */
#include "core/share.h"

#include <stddef.h>
#include <stdint.h>

void share_init(struct share *share, struct share *parent)
{
	share->parent = parent;
	folio_u64_store_relaxed(&share->has[SHARE_PAGES], 0);
	folio_u64_store_relaxed(&share->has[SHARE_RUNS], 0);
	folio_u64_store_relaxed(&share->written, 0);
	folio_u64_store_relaxed(&share->period, 0);
}

void share_take(struct share *share, enum share_resource resource, uint64_t n)
{
	for (; share; share = share->parent)
		folio_u64_fetch_add_relaxed(&share->has[resource], n);
}

void share_give(struct share *share, enum share_resource resource, uint64_t n)
{
	for (; share; share = share->parent)
		folio_u64_fetch_sub_relaxed(&share->has[resource], n);
}

/* The pages that the share has written lately, as of @period. */
static uint64_t speed(const struct share *share, uint64_t period)
{
	uint64_t ended = period - folio_u64_load_relaxed(&share->period);

	return ended > 63 ? 0 : folio_u64_load_relaxed(&share->written) >> ended;
}

void share_wrote(struct share *share, uint64_t pages, uint64_t period)
{
	for (; share; share = share->parent) {
		folio_u64_store_relaxed(&share->written, speed(share, period) + pages);
		folio_u64_store_relaxed(&share->period, period);
	}
}

/* a * b / c without overflow, rounded down, for b <= c: to 16 bits of the fraction. */
static uint64_t part(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t fraction = b < c ? (b << 16) / c : 1 << 16;

	return (a >> 16) * fraction + ((a & 0xffff) * fraction >> 16);
}

uint64_t share_limit(
	const struct share *share, enum share_resource resource, uint64_t whole, uint64_t period)
{
	uint64_t has = share_has(share, resource), used = share_has(share->parent, resource);
	uint64_t space = whole > used ? whole - used : 0, by_speed = 0, at_rest = 0, limit;
	uint64_t rest = whole - whole / 4, written = speed(share, period);

	/* Rounded up: the last one that is free can be taken. */
	limit = (space + 3) / 4;
	if (used < rest)
		at_rest = has + rest - used;
	if (at_rest > limit)
		limit = at_rest;
	if (written)
		by_speed = part(whole - (whole + 7) / 8, written, speed(share->parent, period));
	if (by_speed > limit)
		limit = by_speed;
	return limit < has + space ? limit : has + space;
}
