/* SPDX-License-Identifier: BSD-2-Clause */
/* spawn.h - start a thread of the library. */
#ifndef FOLIO_SRC_BASE_SPAWN_H
#define FOLIO_SRC_BASE_SPAWN_H

#include <pthread.h>

/*
 * Start a thread named @name (at most 15 bytes) with all signals blocked: signals are for the
 * program's threads. Returns 0; -ENOMEM if no thread can be created for want of memory or because
 * a limit is reached (EAGAIN); or another -errno of pthread_create.
 */
int spawn_thread(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

#endif
