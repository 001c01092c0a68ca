/* SPDX-License-Identifier: GPL-2.0-only */
/* worlds.h - the two counters behind one interface. */
#ifndef WORLDS_H
#define WORLDS_H

#include <stdbool.h>
#include <stdint.h>

struct world {
	const char *name;
	bool (*try_get)(uint32_t *word, uint32_t n);
	void (*get)(uint32_t *word, uint32_t n);
	bool (*put)(uint32_t *word, uint32_t n);
	bool (*try_freeze)(uint32_t *word, uint32_t expected);
	void (*unfreeze)(uint32_t *word, uint32_t count);
	void (*init_frozen)(uint32_t *word);
	uint32_t (*count)(uint32_t *word);
	bool (*is_frozen)(uint32_t *word);
};

extern const struct world library; /* include/folio/ref.h */
extern const struct world kernel;  /* the patched include/linux/page_ref.h */

#endif
