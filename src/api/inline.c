/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inline.c - the documented inline functions of the public headers, once more as exported functions
 * of the same names, for programs in languages that cannot compile a header of C.
 *
 * The text is that of the headers; there is no second one that could differ. Programs in C and C++
 * have the functions inline, and link none of these.
 *
 * In a library that is built with ref_debug, these functions do not check the counter: a check
 * reports the file and line of the call, which a program in another language does not have. It is
 * as if a program compiled without FOLIO_REF_DEBUG used that library.
 */
#undef FOLIO_REF_DEBUG
#define FOLIO_INLINE_ extern inline
#pragma GCC visibility push(default)
#include <folio/ref.h>
#include <folio/folio.h>
#include <folio/file.h>
#include <folio/type.h>
#include <folio/peek.h>
#include <folio/pin.h>
#pragma GCC visibility pop
