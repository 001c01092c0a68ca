/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ref-pause.h - the counter's pause points, for every file of the torture build: the compiler includes this
 * before all else (-include), since ref.h takes the macro as it finds it.
 */
#ifndef TORTURE_REF_PAUSE_H
#define TORTURE_REF_PAUSE_H

enum torture_ref_pause {
	TORTURE_REF_put_before_freeze, /* between the subtraction that came to zero and its CAS */
	TORTURE_REF_junk_reset,        /* between the get that found too much junk and its CAS */
};

/* @ref: the counter; both points of ref.h stand in functions that call it so. */
void torture_ref_pause(enum torture_ref_pause point, void *ref);

#define FOLIO_REF_PAUSE(point) torture_ref_pause(TORTURE_REF_##point, ref)

#endif
