/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hotfile.h - a file on disk that lists ranges of pages of other files: what folio_cache_save_hot
 * writes.
 *
 * The format is a sequence of words of 64 bits, lowest byte first:
 *
 *   header        HOTFILE_MAGIC, HOTFILE_VERSION, FOLIO_PAGE_SIZE
 *   each file     1; device, inode, fields, generation, btime_sec, btime_nsec, handle_type,
 *                 handle_bytes of its folio_io_attr; the handle, filled up with zeros to whole
 *                 words; its ranges, in order; 0, 0
 *   each range    the first page; the number of pages, which is not 0
 *   end           0; the checksum of all words before
 *
 * The checksum detects damage, not malice: a file that passes it may list any pages. They are read
 * as hints, and are not trusted.
 */
#ifndef FOLIO_SRC_CORE_HOTFILE_H
#define FOLIO_SRC_CORE_HOTFILE_H

#include <stdbool.h>
#include <stdint.h>

#include <folio/io.h>

#define HOTFILE_MAGIC   UINT64_C(0x544f486f696c6f66) /* "folioHOT" */
#define HOTFILE_VERSION UINT64_C(1)

#define HOTFILE_WORDS   512

/* Words between memory and the file, and the checksum of all words so far. */
struct hotfile {
	int fd;
	unsigned count; /* words in the buffer */
	unsigned at;    /* reading: of those, taken */
	uint64_t sum;
	uint64_t word[HOTFILE_WORDS];
};

/* ---- writing ---- */

struct hotfile_writer {
	struct hotfile file;
	const char *path; /* of the program */
	char *temporary;  /* the name until all is written */
	uint64_t size;    /* bytes so far, without those in the buffer */
	int error;        /* -errno of the first write that failed; then nothing else is written */
};

/* Begin a list that is to be named @path, which must stay. 0, -ENOMEM or the errno of open(2). */
int hotfile_create(struct hotfile_writer *writer, const char *path);

/* The next ranges are of the file with these attributes. */
void hotfile_put_file(struct hotfile_writer *writer, const struct folio_io_attr *attr);
/* Ranges of a file are in order, do not overlap, and have pages. */
void hotfile_put_range(struct hotfile_writer *writer, uint64_t first, uint64_t pages);
/* The file of hotfile_put_file has no further ranges. */
void hotfile_put_file_end(struct hotfile_writer *writer);

/*
 * End the list: make it durable, and give it its name in place of a file that had it before.
 * Returns 0 or -errno. After an error, the earlier file has the name still, unless only the sync of
 * the folder failed. A folder that cannot be synced, or may not be read, is no error.
 */
int hotfile_commit(struct hotfile_writer *writer);

/* ---- reading ---- */

/*
 * Open a list, and check all of it. Returns 0; -EBADMSG if it is none, or is damaged; -EOPNOTSUPP
 * if it is of another version or page size; or the errno of open(2) or read(2).
 */
int hotfile_open(struct hotfile *file, const char *path);
void hotfile_close(struct hotfile *file);

/* The next file. Returns 1; 0 if there is none; or an error as hotfile_open. */
int hotfile_next_file(struct hotfile *file, struct folio_io_attr *attr);
/* The next range of the last file. All of them must be taken before the next file. As above. */
int hotfile_next_range(struct hotfile *file, uint64_t *first, uint64_t *pages);

#endif
