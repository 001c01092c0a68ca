/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history.h - what each sector of a file has been since it was last known to be on the device.
 *
 * The simulator keeps one of what it was told to write, the exerciser one of its model. After a power cut a sector
 * has to be something that is in there; what was synced is all that is in there.
 */
#ifndef FOLIO_TESTS_FAULT_HISTORY_H
#define FOLIO_TESTS_FAULT_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR 512u

struct history;

/* Of a file of at most @bytes, all zeros, and empty. */
struct history *history_new(uint64_t bytes);
void history_free(struct history *history);

/*
 * The sectors that the range touches now have what is in @image, the whole file, zeros behind its end. What they
 * had before may be on the device still.
 */
void history_note(
	struct history *history, const unsigned char *image, uint64_t offset, uint64_t len);
/* Each version of the sector that has byte @offset may have zeros from there on. */
void history_cut(struct history *history, uint64_t offset);
/* The sectors that the range touches are on the device as they are in @image, and nothing else is. */
void history_settle(
	struct history *history, const unsigned char *image, uint64_t offset, uint64_t len);
/* What is on the device of a sector is its last version. */
void history_settle_sector(struct history *history, uint64_t sector);

/* There is one version only. */
bool history_is_known(const struct history *history, uint64_t sector);
/* How many there are: 1 where it is known. */
unsigned history_versions(const struct history *history, uint64_t sector);
/* Number 0 is the oldest. */
const unsigned char *history_version(
	const struct history *history, uint64_t sector, unsigned number);
/* Is there one that begins with these bytes? */
bool history_allows(
	const struct history *history, uint64_t sector, const unsigned char *bytes, size_t len);

/* The same for the size, of which there is one. */
void history_note_size(struct history *history, uint64_t size);
void history_settle_size(struct history *history, uint64_t size);
unsigned history_sizes(const struct history *history);
uint64_t history_size(const struct history *history, unsigned number);

/* Bytes that it takes. */
size_t history_bytes(const struct history *history);

#endif
