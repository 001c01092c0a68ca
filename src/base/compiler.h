/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compiler.h - branch hints for the compiler, the struct around a member, and whether
 * ThreadSanitizer checks the code.
 */
#ifndef FOLIO_SRC_BASE_COMPILER_H
#define FOLIO_SRC_BASE_COMPILER_H

#include <stddef.h>

#define likely(x)                           __builtin_expect(!!(x), 1)
#define unlikely(x)                         __builtin_expect(!!(x), 0)

/* The struct of @type whose @member is at @pointer. */
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#if defined(__SANITIZE_THREAD__)
#define SANITIZE_THREAD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZE_THREAD 1
#endif
#endif

#endif
