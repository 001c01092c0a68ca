/* SPDX-License-Identifier: BSD-2-Clause */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct version {
	uint32_t older; /* index in the pool; 0: the base */
	unsigned char bytes[SECTOR];
};

struct history {
	uint64_t sectors;
	unsigned char *base; /* the oldest version of each sector */
	uint32_t *newest;    /* index in the pool; 0: the base */

	struct version *pool; /* entry 0 is not used */
	uint32_t used, capacity;
	uint64_t live; /* sectors with versions besides the base; at 0 the pool starts over */

	uint64_t *size; /* oldest first */
	unsigned sizes, sizes_capacity;
};

static void *must(void *memory)
{
	if (!memory) {
		fprintf(stderr, "history: no memory\n");
		abort();
	}
	return memory;
}

struct history *history_new(uint64_t bytes)
{
	struct history *history = must(calloc(1, sizeof(*history)));

	history->sectors = (bytes + SECTOR - 1) / SECTOR;
	history->base = must(calloc(history->sectors, SECTOR));
	history->newest = must(calloc(history->sectors, sizeof(*history->newest)));
	history->used = 1;
	history_settle_size(history, 0);
	return history;
}

void history_free(struct history *history)
{
	if (!history)
		return;
	free(history->base);
	free(history->newest);
	free(history->pool);
	free(history->size);
	free(history);
}

static const unsigned char *newest(const struct history *history, uint64_t sector)
{
	return history->newest[sector] ? history->pool[history->newest[sector]].bytes
				       : history->base + sector * SECTOR;
}

static void forget(struct history *history, uint64_t sector)
{
	if (!history->newest[sector])
		return;
	history->newest[sector] = 0;
	if (--history->live == 0)
		history->used = 1;
}

/* The end of the range of sectors, cut at the end of the file. */
static uint64_t last_sector(const struct history *history, uint64_t offset, uint64_t len)
{
	uint64_t end = len > UINT64_MAX - offset ? UINT64_MAX : offset + len;

	end = end / SECTOR + (end % SECTOR != 0);
	return end < history->sectors ? end : history->sectors;
}

/* Adds a version to the sector, unless it equals the newest. */
static void add(struct history *history, uint64_t sector, const unsigned char *bytes)
{
	struct version *version;

	if (memcmp(newest(history, sector), bytes, SECTOR) == 0)
		return;
	if (history->used >= history->capacity) {
		history->capacity = history->capacity ? 2 * history->capacity : 1024;
		history->pool =
			must(realloc(history->pool, history->capacity * sizeof(*history->pool)));
	}
	version = &history->pool[history->used];
	version->older = history->newest[sector];
	memcpy(version->bytes, bytes, SECTOR);
	if (!history->newest[sector])
		history->live++;
	history->newest[sector] = history->used++;
}

void history_note(
	struct history *history, const unsigned char *image, uint64_t offset, uint64_t len)
{
	uint64_t sector, end = last_sector(history, offset, len);

	for (sector = offset / SECTOR; len && sector < end; sector++)
		add(history, sector, image + sector * SECTOR);
}

void history_cut(struct history *history, uint64_t offset)
{
	uint64_t sector = offset / SECTOR;
	size_t from = offset % SECTOR;
	unsigned i, count;
	unsigned char bytes[SECTOR];

	if (!from || sector >= history->sectors)
		return;
	count = history_versions(history, sector);
	for (i = 0; i < count; i++) {
		memcpy(bytes, history_version(history, sector, i), SECTOR);
		memset(bytes + from, 0, SECTOR - from);
		/* Do not add a version twice. */
		if (!history_allows(history, sector, bytes, SECTOR))
			add(history, sector, bytes);
	}
}

void history_settle(
	struct history *history, const unsigned char *image, uint64_t offset, uint64_t len)
{
	uint64_t sector, end = last_sector(history, offset, len);

	for (sector = offset / SECTOR; len && sector < end; sector++) {
		forget(history, sector);
		memcpy(history->base + sector * SECTOR, image + sector * SECTOR, SECTOR);
	}
}

void history_settle_sector(struct history *history, uint64_t sector)
{
	if (!history->newest[sector])
		return;
	memcpy(history->base + sector * SECTOR, newest(history, sector), SECTOR);
	forget(history, sector);
}

bool history_is_known(const struct history *history, uint64_t sector)
{
	return !history->newest[sector];
}

unsigned history_versions(const struct history *history, uint64_t sector)
{
	uint32_t at = history->newest[sector];
	unsigned count = 1;

	for (; at; at = history->pool[at].older)
		count++;
	return count;
}

const unsigned char *history_version(
	const struct history *history, uint64_t sector, unsigned number)
{
	unsigned newer = history_versions(history, sector) - 1 - number;
	uint32_t at = history->newest[sector];

	while (newer-- > 0)
		at = history->pool[at].older;
	return at ? history->pool[at].bytes : history->base + sector * SECTOR;
}

bool history_allows(
	const struct history *history, uint64_t sector, const unsigned char *bytes, size_t len)
{
	uint32_t at = history->newest[sector];

	for (; at; at = history->pool[at].older)
		if (memcmp(history->pool[at].bytes, bytes, len) == 0)
			return true;
	return memcmp(history->base + sector * SECTOR, bytes, len) == 0;
}

void history_note_size(struct history *history, uint64_t size)
{
	if (history->sizes && history->size[history->sizes - 1] == size)
		return;
	if (history->sizes >= history->sizes_capacity) {
		history->sizes_capacity =
			history->sizes_capacity ? 2 * history->sizes_capacity : 16;
		history->size = must(
			realloc(history->size, history->sizes_capacity * sizeof(*history->size)));
	}
	history->size[history->sizes++] = size;
}

void history_settle_size(struct history *history, uint64_t size)
{
	history->sizes = 0;
	history_note_size(history, size);
}

unsigned history_sizes(const struct history *history)
{
	return history->sizes;
}

uint64_t history_size(const struct history *history, unsigned number)
{
	return history->size[number];
}

size_t history_bytes(const struct history *history)
{
	return history->used * sizeof(struct version);
}
