/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ledger.h - tells which write a sector comes from, and whether it may still be there.
 *
 * A write fills each sector with words made of its number. One counter gives each write a number
 * when it begins and another when it ends. Suppose a write W that began at number f ended before
 * some event, such as the begin of a read or of a sync that returned 0. After that event, no write
 * that had ended before f can be found in the sector, because W overwrote it. A hole counts as a
 * write of zeros.
 *
 * A ledger is plain memory without pointers, so processes can share it.
 */
#ifndef FOLIO_TESTS_FAULT_LEDGER_H
#define FOLIO_TESTS_FAULT_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "history.h"

#define LEDGER_SECTORS 2048u
#define LEDGER_NUMBERS (UINT32_C(1) << 21)

struct ledger {
	_Atomic uint32_t number;
	/*
	 * By sector. floor: the latest begin of a write that has ended. synced: what floor was at
	 * the begin of the last successful sync. hole_end: the end of the last hole.
	 */
	_Atomic uint32_t floor[LEDGER_SECTORS], synced[LEDGER_SECTORS], hole_end[LEDGER_SECTORS];
	/* A hole is being made, or making it failed. */
	_Atomic bool hole_open[LEDGER_SECTORS];
	/* By number. */
	struct {
		_Atomic uint32_t end; /* 0: has not ended, or has failed */
		uint32_t sector, sectors;
	} write[LEDGER_NUMBERS];
};

/* Defined by the program: prints the message and exits. */
__attribute__((format(printf, 1, 2), noreturn)) void ledger_wrong(const char *format, ...);

/* Takes a ledger of zero bytes. All sectors hold zeros and always have. */
static inline void ledger_init(struct ledger *ledger)
{
	unsigned i;

	ledger->number = 2;
	for (i = 0; i < LEDGER_SECTORS; i++)
		ledger->hole_end[i] = 1;
}

static inline uint64_t ledger_word(uint32_t number, unsigned i)
{
	return ((uint64_t)number << 8 | 0xa5) + i * UINT64_C(0x9e3779b97f4a7c15);
}

/* Fills sectors with the data of write @number; 0: zeros. */
static inline void ledger_fill(void *bytes, uint64_t sectors, uint32_t number)
{
	uint64_t word[SECTOR / 8];
	unsigned i;

	for (i = 0; i < SECTOR / 8; i++)
		word[i] = number ? ledger_word(number, i) : 0;
	for (; sectors; sectors--, bytes = (char *)bytes + SECTOR)
		memcpy(bytes, word, sizeof(word));
}

/*
 * Returns the number of the write that the sector comes from; 0: zeros. @cut: the sector may end in
 * zeros after the first words of the write.
 */
static inline uint32_t ledger_read(
	struct ledger *ledger, const char *reader, const void *bytes, uint64_t sector, bool cut)
{
	uint64_t word[SECTOR / 8];
	uint32_t number = 0;
	unsigned i = 0;

	memcpy(word, bytes, sizeof(word));
	if (word[0]) {
		number = (uint32_t)(word[0] >> 8);
		for (i = 0; i < SECTOR / 8 && word[i] == ledger_word(number, i); i++)
			continue;
		if (!i || (i < SECTOR / 8 && !cut))
			ledger_wrong("%s finds sector %llu as no write left it, from word %u on",
				reader, (unsigned long long)sector, i);
		if (number >= atomic_load(&ledger->number) ||
			sector < ledger->write[number].sector ||
			sector - ledger->write[number].sector >= ledger->write[number].sectors)
			ledger_wrong("%s finds write %u in sector %llu, outside of its range",
				reader, number, (unsigned long long)sector);
	}
	for (; i < SECTOR / 8; i++)
		if (word[i])
			ledger_wrong("%s finds data past the end in sector %llu", reader,
				(unsigned long long)sector);
	return number;
}

/*
 * May the sector come from write @number, or be zeros (0), given that a write that began at @floor
 * had ended before?
 */
static inline bool ledger_allows(
	struct ledger *ledger, uint32_t number, uint64_t sector, uint32_t floor)
{
	uint32_t end;

	if (!number)
		return atomic_load(&ledger->hole_open[sector]) ||
		       atomic_load(&ledger->hole_end[sector]) > floor;
	end = atomic_load(&ledger->write[number].end);
	return !end || end > floor;
}

static inline void ledger_raise(_Atomic uint32_t *to, uint32_t value)
{
	uint32_t had = atomic_load(to);

	while (had < value && !atomic_compare_exchange_weak(to, &had, value))
		continue;
}

/* A write begins. */
static inline uint32_t ledger_begin(struct ledger *ledger, uint64_t sector, uint64_t sectors)
{
	uint32_t number = atomic_fetch_add(&ledger->number, 1);

	if (number >= LEDGER_NUMBERS)
		ledger_wrong("more writes than there are numbers");
	ledger->write[number].sector = (uint32_t)sector;
	ledger->write[number].sectors = (uint32_t)sectors;
	return number;
}

/* The write has succeeded for @sectors sectors. */
static inline void ledger_end(
	struct ledger *ledger, uint32_t number, uint64_t sector, uint64_t sectors)
{
	uint64_t i;

	if (sectors == ledger->write[number].sectors)
		atomic_store(&ledger->write[number].end, atomic_fetch_add(&ledger->number, 1));
	for (i = sector; i < sector + sectors; i++)
		ledger_raise(&ledger->floor[i], number);
}

/* The same for a hole. */
static inline uint32_t ledger_hole_begin(struct ledger *ledger, uint64_t sector, uint64_t sectors)
{
	uint32_t number = ledger_begin(ledger, sector, 0);
	uint64_t i;

	for (i = sector; i < sector + sectors; i++)
		atomic_store(&ledger->hole_open[i], true);
	return number;
}

static inline void ledger_hole_end(
	struct ledger *ledger, uint32_t number, uint64_t sector, uint64_t sectors)
{
	uint32_t end = atomic_fetch_add(&ledger->number, 1);
	uint64_t i;

	for (i = sector; i < sector + sectors; i++) {
		atomic_store(&ledger->hole_end[i], end);
		atomic_store(&ledger->hole_open[i], false);
		ledger_raise(&ledger->floor[i], number);
	}
}

/* Begin of a sync: records in @begun which writes had ended. ledger_sync_end: it returned 0. */
static inline void ledger_sync_begin(
	struct ledger *ledger, uint32_t *begun, uint64_t sector, uint64_t sectors)
{
	uint64_t i;

	for (i = sector; i < sector + sectors; i++)
		begun[i] = atomic_load(&ledger->floor[i]);
}

static inline void ledger_sync_end(
	struct ledger *ledger, const uint32_t *begun, uint64_t sector, uint64_t sectors)
{
	uint64_t i;

	for (i = sector; i < sector + sectors; i++)
		ledger_raise(&ledger->synced[i], begun[i]);
}

/*
 * With no other thread active: the sector comes from write @number, and no older write may be found
 * in it from now on. @now: a number from ledger_now.
 */
static inline void ledger_adopt(
	struct ledger *ledger, uint64_t sector, uint32_t number, uint32_t now)
{
	atomic_store(&ledger->hole_open[sector], false);
	if (number)
		atomic_store(&ledger->write[number].end, now + 1);
	else
		atomic_store(&ledger->hole_end[sector], now + 1);
	atomic_store(&ledger->floor[sector], now);
	atomic_store(&ledger->synced[sector], now);
}

/* A number for ledger_adopt, for any number of sectors. */
static inline uint32_t ledger_now(struct ledger *ledger)
{
	return atomic_fetch_add(&ledger->number, 2);
}

#endif
