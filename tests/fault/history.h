/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history.h - the versions that each sector of a file has had since its durable contents were last
 * known.
 *
 * The simulator keeps a history of the writes that it receives, fsx keeps one of its model. After a
 * power cut a sector must equal one of its versions. A synced sector has only one.
 */
#ifndef FOLIO_TESTS_FAULT_HISTORY_H
#define FOLIO_TESTS_FAULT_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR 512u

struct history;

/* For a file of at most @bytes, all zeros, and of size 0. */
struct history *history_new(uint64_t bytes);
void history_free(struct history *history);

/*
 * Each sector that the range touches gets a new version, taken from @image: the complete file, with
 * zeros past its end. The device may still have any of the older versions.
 */
void history_note(
	struct history *history, const unsigned char *image, uint64_t offset, uint64_t len);
/*
 * In each version of the sector that holds byte @offset, zeros may replace the bytes from there on.
 */
void history_cut(struct history *history, uint64_t offset);
/* The sectors that the range touches are durable as in @image. Their other versions are dropped. */
void history_settle(
	struct history *history, const unsigned char *image, uint64_t offset, uint64_t len);
/* The last version of the sector is durable. The others are dropped. */
void history_settle_sector(struct history *history, uint64_t sector);

/* True if only one version is left. */
bool history_is_known(const struct history *history, uint64_t sector);
/* The number of versions; 1 if it is known. */
unsigned history_versions(const struct history *history, uint64_t sector);
/* Number 0 is the oldest. */
const unsigned char *history_version(
	const struct history *history, uint64_t sector, unsigned number);
/* Is there a version that begins with these bytes? */
bool history_allows(
	const struct history *history, uint64_t sector, const unsigned char *bytes, size_t len);

/* The same for the file's size. */
void history_note_size(struct history *history, uint64_t size);
void history_settle_size(struct history *history, uint64_t size);
unsigned history_sizes(const struct history *history);
uint64_t history_size(const struct history *history, unsigned number);

/* Memory that the history uses, in bytes. */
size_t history_bytes(const struct history *history);

#endif
