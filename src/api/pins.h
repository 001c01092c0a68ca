/* SPDX-License-Identifier: BSD-2-Clause */
/* pins.h - the table of a program's pins. */
#ifndef FOLIO_SRC_API_PINS_H
#define FOLIO_SRC_API_PINS_H

#include "cache/types.h"

/* Free the table, if the program has recorded pins. */
void pins_destroy(struct folio_cache *cache);

#endif
