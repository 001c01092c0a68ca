/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tree with 4 slots in a node. The build compiles this file and the tree's source with
 * -DTREE_SHIFT=2, and links neither the library nor anything else compiled for another fan-out.
 */
#include "tree-suite.h"

_Static_assert(TREE_SHIFT == 2, "compiled without -DTREE_SHIFT=2");

int main(void)
{
	return tree_suite_run("tree-small");
}
