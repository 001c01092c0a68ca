/* SPDX-License-Identifier: BSD-2-Clause */
/* The tree as the library has it: 64 slots in a node. */
#include "tree-suite.h"

int main(void)
{
	return tree_suite_run("tree");
}
