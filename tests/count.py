#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Count the tests in meson's testlog.json, or show why some have failed.

    tests/count.py LOG              two numbers: passed and failed
    tests/count.py --failures LOG   the output of the failed ones, of which meson shows no TAP

A test that prints TAP counts once for each line of TAP, any other test counts once. Skipped tests
are not counted; an expected failure counts as passed. Of a failed test, the last lines are shown,
without those of TAP for what passed.
"""
import json
import re
import sys

LINES = 20
GOOD = ("OK", "EXPECTEDFAIL")


def read_log(path):
    """The tests of a log, in its order."""
    with open(path, encoding="utf-8") as log:
        return [json.loads(line) for line in log]


def count(tests):
    """How many have passed, and failed."""
    passed = failed = 0
    for test in tests:
        if test["result"] == "SKIP":
            continue
        ok = len(re.findall(r"^ok \d", test.get("stdout", ""), re.M))
        bad = len(re.findall(r"^not ok \d", test.get("stdout", ""), re.M))
        if ok + bad == 0:
            ok, bad = (1, 0) if test["result"] in GOOD else (0, 1)
        elif test["result"] not in GOOD and bad == 0:
            bad = 1
        passed += ok
        failed += bad
    return passed, failed


def failures(tests):
    """The lines that tell why tests have failed."""
    for test in tests:
        if test["result"] in GOOD or test["result"] == "SKIP":
            continue
        yield f"FAILED: {test['name']}: {test['result']}, status {test.get('returncode')}"
        for stream in "stdout", "stderr":
            lines = test.get(stream, "").splitlines()
            told = [line for line in lines if not re.match(r"ok \d|1\.\.\d", line)]
            yield from (f"    {line}" for line in told[-LINES:])


def main():
    if sys.argv[1] == "--failures":
        print("\n".join(failures(read_log(sys.argv[2]))))
    else:
        print(*count(read_log(sys.argv[1])))


if __name__ == "__main__":
    main()
