/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prefix.h - changes that follow from a seed and their number, and the check that a store which was
 * stopped has the first of them: all that were acknowledged, and none without those before it.
 */
#ifndef KV_PREFIX_H
#define KV_PREFIX_H

#include <stdint.h>

#include "kv.h"

enum { PREFIX_KEYS = 20000 };

/* What a store should have: of each key the number of its last change, or 0: it is not there. */
struct prefix {
	uint64_t seed, changes;
	uint64_t last[PREFIX_KEYS];
	uint64_t unlinked; /* pages whose split was cut off, in all checks together */
};

/* Makes change @number (from 1 on) in the store. Returns what kv_put or kv_delete does, or 0. */
int prefix_change(struct kv *kv, uint64_t seed, uint64_t number);

/*
 * Does the store have the changes up to a number between @acknowledged and @begun? Moves @prefix
 * there and returns 0, or ends the program with a message.
 */
void prefix_check(struct kv *kv, struct prefix *prefix, uint64_t acknowledged, uint64_t begun);

#endif
