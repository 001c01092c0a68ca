#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Run the unit and fault tests while their threads are delayed at random: which rely on time?

    tests/delays/run.py [--build build] [--rounds 1] [--rate 10] [--longest 2000] [--jobs 6]
                        [--seed N] [TEST...]

delays.c is compiled and preloaded. A thread stops at RATE of 1,000 locks, futexes and thread
starts, at most LONGEST microseconds. A test that fails here, and not without delays, waits for time
where it should wait for an event, or expects an order that nothing enforces.

Prints each test that failed: how often, and the first lines that say why. Exit status: 0 if none
failed, 1 if one did, 2 if the arguments are wrong or delays.c cannot be built. The seed decides
which places are chosen, but not the order in which the threads come to them.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUITES = {"unit", "fault"}
SECONDS = 300  # of one run; a test without delays takes 40 at most
REASON = re.compile(r"LINE|error:|FAILED *\] test|^not ok|wrong")


def fail(sentence):
    """Exit as for a wrong command line."""
    print(f"delays: {sentence}", file=sys.stderr)
    sys.exit(2)


def tests_of(build, names):
    """The tests of the suites, as meson knows them; all, or those that @names has."""
    listed = subprocess.run(
        ["meson", "introspect", str(build), "--tests"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        fail(f"{build} is no build folder")
    tests = [
        test
        for test in json.loads(listed.stdout)
        if SUITES & {suite.split(":")[-1] for suite in test["suite"]}
    ]
    for name in names:
        if name not in {test["name"] for test in tests}:
            fail(f"there is no test {name}")
    return [test for test in tests if not names or test["name"] in names]


def compile_delays(folder):
    """Compile delays.c into @folder. Returns the library."""
    library = Path(folder) / "delays.so"
    command = ["cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-pthread"]
    command += ["-o", str(library), str(HERE / "delays.c"), "-ldl"]
    if subprocess.run(command, check=False).returncode:
        fail("delays.c cannot be built")
    return library


def run_once(test, build, library, delays):
    """Run one test. Returns None if it passed or was skipped, else why it failed."""
    env = {**os.environ, **test["env"], "LD_PRELOAD": str(library), "FOLIO_DELAYS": delays}
    env.pop("CMOCKA_MESSAGE_OUTPUT", None)
    try:
        ran = subprocess.run(
            test["cmd"], env=env, cwd=build, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"ran for more than {SECONDS} seconds"
    if ran.returncode in (0, 77):
        return None
    lines = (ran.stdout + ran.stderr).decode(errors="replace").splitlines()
    reasons = [line.strip() for line in lines if REASON.search(line)] or lines[-1:]
    return f"status {ran.returncode}: " + " | ".join(reasons[:3])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each test")
    parser.add_argument("--rate", type=int, default=10, help="of 1,000 places")
    parser.add_argument("--longest", type=int, default=2000, help="microseconds")
    parser.add_argument("--jobs", type=int, default=6, help="tests at the same time")
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1000)
    parser.add_argument("test", nargs="*")
    args = parser.parse_args()
    if min(args.rounds, args.longest, args.jobs) < 1 or not 0 <= args.rate <= 1000:
        fail("rounds, longest and jobs are at least 1, the rate is 0 to 1000")
    build = args.build.resolve()
    tests = tests_of(build, args.test)
    print(f"# delays: --seed {args.seed}", flush=True)

    runs = [(test, round) for round in range(args.rounds) for test in tests]
    failures = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs) as pool:
        library = compile_delays(folder)

        def run(number):
            delays = f"{args.seed + number},{args.rate},{args.longest}"
            return run_once(runs[number][0], build, library, delays)

        for number, reason in enumerate(pool.map(run, range(len(runs)))):
            if reason:
                failures.setdefault(runs[number][0]["name"], []).append(reason)
            if sys.stderr.isatty():
                print(f"\r{number + 1} of {len(runs)}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    print(f"{len(tests) - len(failures)} passed, {len(failures)} failed")
    for name, reasons in sorted(failures.items(), key=lambda item: -len(item[1])):
        print(f"{name}: {len(reasons)} of {args.rounds}")
        for reason in sorted(set(reasons)):
            print(f"    {reason}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
