/* SPDX-License-Identifier: BSD-2-Clause */
/* confirm.h - asking the file system, before a file is closed, whether it has kept the data. */
#ifndef FOLIO_SRC_WRITE_CONFIRM_H
#define FOLIO_SRC_WRITE_CONFIRM_H

#include <stdbool.h>

#include "cache/types.h"

/* Has data been written to the file since confirm_written has succeeded last? */
bool confirm_needed(struct inode *inode);

/*
 * Make the file system report the errors that it would report at close(2). If there is one, the
 * pages that were written and are still cached become dirty again. The caller closes the last
 * handle, has no folio locked, and does not hold files_lock. If another handle has been opened in
 * the meantime, this does nothing. Returns 0 or the error.
 */
int confirm_written(struct inode *inode);

#endif
