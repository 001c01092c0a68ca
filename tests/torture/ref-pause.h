/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ref-pause.h - the pause points of the counter and of peeks, for every file of the torture build.
 * The compiler includes this file first (-include), because ref.h and peek.h use the macros only if
 * they are already defined.
 */
#ifndef TORTURE_REF_PAUSE_H
#define TORTURE_REF_PAUSE_H

enum torture_ref_pause {
	TORTURE_REF_put_before_freeze, /* between the subtraction that reached zero and its CAS */
	TORTURE_REF_junk_reset,        /* between the get that found too much junk and its CAS */
};

/* @ref: the counter. Both points of ref.h are in functions whose parameter has this name. */
void torture_ref_pause(enum torture_ref_pause point, void *ref);

#define FOLIO_REF_PAUSE(point) torture_ref_pause(TORTURE_REF_##point, ref)

void pause_often(void);

/* Between two loads of a peek. */
#define FOLIO_PEEK_PAUSE() pause_often()

#endif
