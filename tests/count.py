#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Count the tests in meson's testlog.json.

A test that prints TAP counts once for each line of TAP, any other test counts once. Prints two
numbers, passed and failed. Skipped tests are not counted; an expected failure counts as passed.
"""
import json
import re
import sys

passed = failed = 0
for line in open(sys.argv[1], encoding="utf-8"):
    test = json.loads(line)
    ok = len(re.findall(r"^ok \d", test.get("stdout", ""), re.M))
    bad = len(re.findall(r"^not ok \d", test.get("stdout", ""), re.M))
    result = test["result"]
    if result == "SKIP":
        continue
    if ok + bad == 0:
        ok, bad = (1, 0) if result in ("OK", "EXPECTEDFAIL") else (0, 1)
    elif result not in ("OK", "EXPECTEDFAIL") and bad == 0:
        bad = 1
    passed += ok
    failed += bad
print(passed, failed)
