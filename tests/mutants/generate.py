#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Make mutants of src/, include/ and tools/ at random, and see which the test suites catch.

    generate.py --count 600                 a new seed, which is printed first
    generate.py --seed 7 --count 600        the same mutants; goes on where an earlier run stopped
    generate.py --seed 7 --report           the table of what is known of that seed, runs nothing
    generate.py --seed 7 --survivors        the diffs of the mutants that no test caught
    generate.py --seed 7 --again            runs the survivors once more, with the tests of today
    generate.py --seed 7 --again --sanitize and with AddressSanitizer
    generate.py --check                     checks equivalent.toml against the sources

README.md in this folder describes the verdicts. (The name random.py would hide Python's own module
of that name from every script of this folder.)
"""

import argparse
import collections
import concurrent.futures
import contextlib
import fnmatch
import hashlib
import json
import math
import os
import queue
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import operators

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SOURCES = ("src/*/*.c", "src/*/*.h", "include/folio/*.h", "tools/folio/*.[ch]",
           "tools/folio/bench/*.[ch]")
SUITES = {"tools": ("command",), "src": ("unit", "fault"), "include": ("unit", "fault")}
# Where --markdown writes the table by file.
TABLE = ROOT / "docs" / "mutants.md"
BEGIN, END = "<!-- mutants: begin -->", "<!-- mutants: end -->"
COUNTED = "caught", "survived"
# Tests that run none of the code in these files, and tests that run that of no others.
COMMANDS = "tools/folio/c[ap]*.c"
BLIND = {"command/cp": "tools/folio/bench/*", "command/bench": COMMANDS,
         "command/cells": COMMANDS, "command/screen": COMMANDS, "command/reports": COMMANDS}
ONLY = {"command/random": "tools/folio/random.[ch]",
        "command/workers": "tools/folio/bench/workers.[ch]"}
SETUP = ["meson", "setup", "-Dbuildtype=plain", "-Doptimization=1", "-Dwerror=true",
         "-Dbench=false", "-Dc_link_args=-fuse-ld=gold"]
# As .ci/run builds and runs the tests with AddressSanitizer.
SANITIZE = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dref_debug=true"]
SANITIZED = {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "halt_on_error=1"}
LIBRARIES = ["src/libfolio.a", "tests/libfolio-small.a", "tools/folio"]
PATIENCE = 20      # a test hangs after --patience times its usual time, and so many seconds more
SLOWER = 7         # the sanitizer makes it so many times as long
MEMORY = 12 << 30  # bytes that a mutant may allocate


class Mutant:
    """A mutation of a file, at a place that survives changes of other lines."""

    def __init__(self, path, text, mutation):
        self.path, self.text, self.mutation = path, text, mutation
        begin = text.rfind("\n", 0, mutation.start) + 1
        end = text.find("\n", mutation.end)
        self.old = text[begin:end]
        self.new = text[begin:mutation.start] + mutation.new + text[mutation.end:end]
        # The same line may occur several times.
        self.occurrence = text.count("\n" + self.old + "\n", 0, begin)
        name = json.dumps([path, self.old, self.new, self.occurrence])
        self.key = hashlib.sha1(name.encode()).hexdigest()[:16]

    def mutated(self):
        return (self.text[:self.mutation.start] + self.mutation.new +
                self.text[self.mutation.end:])

    def diff(self):
        old, new = self.old.split("\n"), self.new.split("\n")
        return "\n".join([f"{self.path}:{self.mutation.line}: {self.mutation.operator}"] +
                         [f"-{line}" for line in old] + [f"+{line}" for line in new])


def sources(globs):
    found = sorted({str(path.relative_to(ROOT)) for glob in SOURCES for path in ROOT.glob(glob)})
    return [name for name in found
            if not globs or any(fnmatch.fnmatch(name, glob) for glob in globs)]


def candidates(path, seed):
    """All mutants of a file in an order that the seed decides; each operator has the same share."""
    text = (ROOT / path).read_text(encoding="utf-8")
    order = random.Random(f"{seed} {path}")
    groups = collections.defaultdict(list)
    for mutation in operators.mutations(text):
        groups[mutation.operator].append(mutation)
    for group in groups.values():
        order.shuffle(group)
    while groups:
        name = order.choice(sorted(groups))
        yield Mutant(path, text, groups[name].pop())
        if not groups[name]:
            del groups[name]


def code_lines(path):
    text = re.sub(r"/\*.*?\*/", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL)
    return sum(1 for line in text.splitlines() if re.search(r"\w", line))


def quotas(paths, count, seed):
    """How many mutants of each file must count: its share by size. That of small files is rounded
    by chance that depends on their names alone, so that a change of one file leaves the others."""
    sizes = {path: code_lines(path) for path in sources(None)}
    total = sum(sizes.values())
    return {path: int(count * sizes[path] / total + random.Random(f"{seed} {path}").random())
            for path in paths}


class Equivalents:
    """equivalent.toml: survivors that cannot matter, each with the argument."""

    def __init__(self):
        path = HERE / "equivalent.toml"
        self.rows = tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", []) \
            if path.exists() else []

    def argued(self, mutant):
        return any(row["file"] == mutant.path and row["old"].strip() == mutant.old.strip() and
                   row["new"].strip() == mutant.new.strip() for row in self.rows)

    def check(self):
        problems = []
        for row in self.rows:
            if set(row) != {"file", "old", "new", "why"}:
                problems.append(f"equivalent.toml: a row has not file, old, new and why: {row}")
                continue
            path = ROOT / row["file"]
            if not path.exists() or row["old"].strip() not in path.read_text(encoding="utf-8"):
                problems.append(f"equivalent.toml: not in {row['file']}: {row['old'].strip()}")
        for problem in problems:
            print(problem, file=sys.stderr)
        print(f"{len(self.rows)} arguments, {len(problems)} problems")
        return 2 if problems else 0


class Test:
    def __init__(self, entry, build, outputs):
        self.name = entry["suite"][0].split(":")[-1] + "/" + entry["name"]
        self.suite = self.name.split("/", maxsplit=1)[0]
        # Meson runs a test in the build folder, and names programs in it from there.
        self.command = [str(build / word) if str(build / word) in outputs else word
                        for word in entry["cmd"]]
        self.env = entry["env"]
        self.alone = not entry["is_parallel"]
        self.tap = entry["protocol"] == "tap"
        self.targets = [os.path.relpath(word, build) for word in self.command if word in outputs]
        self.seconds = 1.0


class Tree:
    """A copy of the repository with a build folder, in which one mutant at a time is tested."""

    alone = threading.Lock()

    def __init__(self, folder, sanitize=False):
        self.folder = folder
        self.build = folder / "build"
        self.scratch = folder / "scratch"
        self.sanitize = sanitize

    def prepare(self, suites):
        """Copy what has changed, and build what mutants change. Without the sanitizer, the tests
        of these suites as well."""
        self.folder.mkdir(parents=True, exist_ok=True)
        added = False
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True,
                                text=True, check=True).stdout
        for name in listed.split("\0"):
            source, target = ROOT / name, self.folder / name
            if not name or not source.is_file():
                continue
            if target.exists() and target.read_bytes() == source.read_bytes():
                continue
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                # Tests are found by listing the folders.
                added = True
            shutil.copy2(source, target)
            os.utime(target)
        if added:
            (self.folder / "meson.build").touch()
        if not (self.build / "build.ninja").exists():
            self.demand([*SETUP, *(SANITIZE if self.sanitize else []), str(self.build),
                         str(self.folder)])
        self.demand(["ninja", "-C", str(self.build), "build.ninja"])
        outputs = {name for target in self.introspect("--targets") for name in target["filename"]}
        tests = (Test(entry, self.build, outputs) for entry in self.introspect("--tests"))
        self.tests = [test for test in tests if test.suite in suites]
        tests = [] if self.sanitize else self.tests
        self.demand(["ninja", "-C", str(self.build), "-j1", *LIBRARIES,
                     *{name for test in tests for name in test.targets}])
        self.objects = self.hash_objects(everything=True)

    def introspect(self, what):
        return json.loads(subprocess.run(["meson", "introspect", what, str(self.build)],
                                         capture_output=True, text=True, check=True).stdout)

    def demand(self, command):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True,
                              env=self.env(), check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr}")

    @contextlib.contextmanager
    def mutated(self, mutant):
        target = self.folder / mutant.path
        target.write_text(mutant.mutated(), encoding="utf-8")
        try:
            yield
        finally:
            target.write_text(mutant.text, encoding="utf-8")

    def env(self):
        # Copies of one file at several places compile once.
        return {**os.environ, "CCACHE_BASEDIR": str(self.folder), "CCACHE_NOHASHDIR": "1"}

    def ninja(self, targets):
        return subprocess.run(["ninja", "-C", str(self.build), "-j1", *targets],
                              capture_output=True, env=self.env(), check=False).returncode == 0

    def hash_objects(self, everything):
        hashes = {}
        for path in self.build.rglob("*.o"):
            name = str(path.relative_to(self.build))
            if everything or not name.startswith("tests/") or "folio-small" in name:
                hashes[name] = hashlib.sha1(path.read_bytes()).digest()
        return hashes

    def unchanged(self, everything=False):
        hashes = self.hash_objects(everything)
        return all(self.objects[name] == digest for name, digest in hashes.items())

    def run(self, test, limit, scale):
        """Run one test. Returns a word for the failure, or None if it passes."""
        with Tree.alone if test.alone else contextlib.nullcontext():
            return self.run_now(test, limit, scale)

    def run_now(self, test, limit, scale):
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        env = {**self.env(), **test.env, "TMPDIR": str(self.scratch), "FOLIO_SEED": "1",
               "FOLIO_TEST_SCALE": str(scale), "MALLOC_PERTURB_": "165",
               **(SANITIZED if self.sanitize else {})}
        # timeout(1) ends a test that would run for ever after this script itself is killed.
        command = ["timeout", "-s", "KILL", str(limit + 5), *test.command]
        process = subprocess.Popen(command, cwd=self.scratch, env=env, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, start_new_session=True,
                                   errors="replace",
                                   preexec_fn=None if self.sanitize else limit_resources)
        hung = threading.Event()

        def stop():
            hung.set()
            end_session(process)

        timer = threading.Timer(limit, stop)
        timer.start()
        failed = None
        # The first test that fails is enough.
        for line in process.stdout:
            if test.tap and line.startswith("not ok"):
                failed = line.split("-", 1)[-1].strip()
                break
        if failed:
            end_session(process)
        process.stdout.close()
        status = process.wait()
        timer.cancel()
        end_session(process)
        if hung.is_set():
            return "hangs"
        if failed:
            return failed
        return None if status in (0, 77) else f"exit status {status}"


def limit_resources():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def end_session(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def stems():
    """Names of the tests of each source, without suffix: its own, or that of stems.txt."""
    named = {}
    for line in (ROOT / "tests" / "stems.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            source, test = line.split()[:2]
            named["src/" + source] = Path(test).stem
    return named


class Campaign:
    """The mutants of a seed, and what is known of them."""

    def __init__(self, options):
        self.options = options
        self.idle = options.report or options.survivors
        self.folder = options.build_dir.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / f"seed-{options.seed}.jsonl"
        self.equivalents = Equivalents()
        self.named = stems()
        self.kills = collections.Counter()
        self.known = {}
        if self.log.exists():
            for line in self.log.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                self.known[row["key"]] = row
        self.begin = 0
        self.lock = threading.Lock()
        self.trees = queue.Queue()
        self.seconds = {}
        self.sanitized = {}  # by the folder of a tree: the same with the sanitizer
        self.passes = {}     # by test: does it pass there without a mutant?

    def prepare(self):
        """Build a tree for each worker. Run each test once: one that passes takes part."""
        wanted = {suite for path in self.paths() for suite in SUITES[path.split("/")[0]]}
        trees = [Tree(self.folder / f"tree-{i}") for i in range(self.options.jobs)]
        for tree in trees:
            self.say(f"building {tree.folder}")
            tree.prepare(wanted)
            self.trees.put(tree)
        known = self.folder / "seconds.json"
        if known.exists():
            self.seconds = json.loads(known.read_text(encoding="utf-8"))
        for test in trees[0].tests:
            if test.name in self.seconds:
                continue
            self.say(f"{test.name} without a mutant")
            begin = time.monotonic()
            failed = trees[0].run(test, 600, self.options.scale)
            if failed:
                print(f"# left out: {test.name} fails without a mutant: {failed}", flush=True)
                continue
            self.seconds[test.name] = time.monotonic() - begin
            known.write_text(json.dumps(self.seconds, indent=1), encoding="utf-8")

    def say(self, text):
        if sys.stderr.isatty() or self.options.progress:
            print(text, file=sys.stderr, flush=True)

    def paths(self):
        return sources(self.options.path)

    def tests_for(self, tree, path):
        """The tests of the stem, then the others: quick ones, and those that caught much."""
        group = os.path.dirname(path)

        def order(test):
            worth = 1 + self.kills[group, test.name]
            return (not self.is_own(test, path), self.seconds[test.name] / worth)

        return sorted((test for test in tree.tests
                       if self.seconds.get(test.name, self.options.longest) < self.options.longest
                       and test.suite in SUITES[path.split("/")[0]]
                       and not fnmatch.fnmatch(path, BLIND.get(test.name, ""))
                       and fnmatch.fnmatch(path, ONLY.get(test.name, "*"))), key=order)

    def is_own(self, test, path):
        """Is it the test of the stem?"""
        name = Path(path).stem
        own = self.named.get(str(Path(path).with_suffix(""))) or (
            f"io-{name}" if path.startswith("src/io/") else name)
        return test.name.split("/")[1] in (own, own + "-small")

    def judge(self, tree, mutant):
        """Returns the verdict and the test that decided it."""
        if not tree.ninja(LIBRARIES):
            return "rejected", "compiler"
        tests = self.tests_for(tree, mutant.path)
        if tree.unchanged():
            if mutant.path.endswith(".c"):
                return "unchanged", "object code"
            if not tree.ninja([target for test in tests for target in test.targets]):
                return "rejected", "compiler"
            if tree.unchanged(everything=True):
                return "unchanged", "object code"
        for test in tests:
            if not tree.ninja(test.targets):
                return "rejected", "compiler"
            limit = self.options.patience * self.seconds[test.name] + PATIENCE
            failed = tree.run(test, limit, self.options.scale)
            if failed:
                with self.lock:
                    self.kills[os.path.dirname(mutant.path), test.name] += 1
                return "caught", f"{test.name}: {failed}"
        by = self.options.sanitize and self.run_sanitized(tree, mutant)
        return ("caught", f"sanitizer, {by}") if by else ("survived", "")

    def run_sanitized(self, plain, mutant):
        """The tests of the stem with the sanitizer; of a tool, all that run its code. Returns the
        one that failed, or None."""
        if plain.folder not in self.sanitized:
            tree = Tree(plain.folder.with_name(plain.folder.name + "-sanitized"), sanitize=True)
            self.say(f"building {tree.folder}")
            tree.prepare({test.suite for test in plain.tests})
            self.sanitized[plain.folder] = tree
        tree = self.sanitized[plain.folder]
        tests = [test for test in self.tests_for(tree, mutant.path)
                 if test.suite == "command" or self.is_own(test, mutant.path)]
        for test in tests:
            if test.name not in self.passes:
                self.passes[test.name] = tree.ninja(test.targets) and \
                    not tree.run(test, 600, self.options.scale)
        with tree.mutated(mutant):
            for test in tests:
                if self.passes[test.name] and tree.ninja(test.targets):
                    usual = SLOWER * self.seconds[test.name]
                    limit = self.options.patience * usual + PATIENCE
                    failed = tree.run(test, limit, self.options.scale)
                    if failed:
                        return f"{test.name}: {failed}"
        return None

    def test(self, mutant):
        """Returns the row of a mutant, from the log or by testing it."""
        row = self.known.get(mutant.key)
        if row and not (self.options.again and row["verdict"] == "survived" and
                        not self.equivalents.argued(mutant)):
            return row
        tree = self.trees.get()
        begin = time.monotonic()
        try:
            with tree.mutated(mutant):
                verdict, by = self.judge(tree, mutant)
        finally:
            self.trees.put(tree)
        row = {"key": mutant.key, "file": mutant.path, "line": mutant.mutation.line,
               "operator": mutant.mutation.operator, "old": mutant.old, "new": mutant.new,
               "verdict": verdict, "by": by, "seconds": round(time.monotonic() - begin, 1)}
        with self.lock:
            self.known[mutant.key] = row
            with self.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
            self.say(f"{verdict:9} {row['seconds']:6.1f} s  {mutant.path}:{mutant.mutation.line} "
                     f"{mutant.mutation.operator}  {by}")
        return row

    def file(self, path, quota):
        """Test mutants of a file until enough of them count. All that are known are among them."""
        mutants = list(candidates(path, self.options.seed))
        known = [self.known[mutant.key] for mutant in mutants if mutant.key in self.known]
        missing = quota - sum(row["verdict"] in COUNTED for row in known)
        rows = []
        for mutant in mutants:
            row = self.known.get(mutant.key)
            if not row and (self.idle or missing <= 0 or self.is_late()):
                continue
            if not self.idle:
                is_new = not row
                row = self.test(mutant)
                missing -= is_new and row["verdict"] in COUNTED
            rows.append((mutant, row))
        return rows

    def is_late(self):
        limit = self.options.minutes
        return limit is not None and time.monotonic() > self.begin + 60 * limit

    def run(self):
        paths = self.paths()
        quota = quotas(paths, self.options.count, self.options.seed)
        if not self.idle:
            self.prepare()
        self.begin = time.monotonic()
        # Large files first, so that the last worker does not have the longest.
        paths = sorted((path for path in paths if quota[path] or self.idle),
                       key=lambda path: -quota[path])
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            rows = list(pool.map(lambda path: self.file(path, quota[path]), paths))
        if self.options.survivors:
            for found in rows:
                for mutant, row in found:
                    if row["verdict"] == "survived" and not self.equivalents.argued(mutant):
                        print(mutant.diff() + "\n")
            return
        self.table(dict(zip(paths, rows)))

    def table(self, found):
        """By file and for all: printed for a terminal, or written to docs/mutants.md."""
        made = collections.Counter()
        lines = []
        for path in sorted(found):
            counts = collections.Counter()
            for mutant, row in found[path]:
                verdict = row["verdict"]
                if verdict == "survived" and self.equivalents.argued(mutant):
                    verdict = "argued"
                counts[verdict] += 1
            made.update(counts)
            if found[path]:
                lines.append((path, counts))
        if self.options.markdown:
            self.markdown(lines, made)
            return
        print(f"{score(made)} of {counted(made)} mutants caught or argued (seed "
              f"{self.options.seed})\n")
        print(f"{'file':36} {'made':>5} {'caught':>7} {'survived':>9} {'argued':>7} "
              f"{'same code':>10} {'score':>6}")
        for path, counts in lines + [("all", made)]:
            print(f"{path:36} {counted(counts):5} {counts['caught']:7} {counts['survived']:9} "
                  f"{counts['argued']:7} {counts['unchanged']:10} {score(counts):>6}")

    @staticmethod
    def markdown(lines, made):
        folders = collections.defaultdict(collections.Counter)
        for path, counts in lines:
            folders[os.path.dirname(path)].update(counts)
        rows = ["| file | made | caught | argued | survived | score |", "|---|---|---|---|---|---|"]
        for folder, sum_of in [*folders.items(), ("all", made)]:
            named = [(f"&nbsp; {Path(path).name}", counts) for path, counts in lines
                     if os.path.dirname(path) == folder]
            for name, counts in [(folder, sum_of), *named]:
                rows.append(f"| {name} | {counted(counts)} | {counts['caught']} "
                            f"| {counts['argued']} | {counts['survived']} | {score(counts)} |")
        text = TABLE.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        TABLE.write_text("\n".join([before + BEGIN, *rows, END + after]), encoding="utf-8")


def counted(counts):
    return counts["caught"] + counts["survived"] + counts["argued"]


def score(counts):
    whole = counted(counts)
    # Rounded down: 100 % means that none survived.
    return f"{100 * (counts['caught'] + counts['argued']) // whole} %" if whole else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, help="decides the mutants; printed if not given")
    parser.add_argument("--count", type=int, default=600, metavar="N",
                        help="mutants that compile and differ (600)")
    parser.add_argument("--path", action="append", metavar="GLOB", help="sources; may be repeated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N",
                        help="mutants in parallel (all processors)")
    parser.add_argument("--scale", type=float, default=0.2, metavar="X",
                        help="amount of the random tests, 1 is that of make check (0.2)")
    parser.add_argument("--longest", type=float, default=math.inf, metavar="S",
                        help="leave out tests that take S seconds (--again runs them later)")
    parser.add_argument("--patience", type=float, default=3, metavar="X",
                        help="a test hangs after X times its usual time (3)")
    parser.add_argument("--minutes", type=float, metavar="N",
                        help="begin no further mutant N minutes after the first")
    parser.add_argument("--build-dir", type=Path, default=ROOT / "build-mutants", metavar="DIR",
                        help="trees and logs (build-mutants)")
    parser.add_argument("--progress", action="store_true",
                        help="a line for each mutant, also without a terminal")
    parser.add_argument("--again", action="store_true", help="run the survivors once more")
    parser.add_argument("--sanitize", action="store_true",
                        help="run the tests of a survivor's stem with AddressSanitizer as well")
    parser.add_argument("--report", action="store_true", help="the table, without running")
    parser.add_argument("--markdown", action="store_true",
                        help="write the table to docs/mutants.md, without running")
    parser.add_argument("--survivors", action="store_true", help="their diffs, without running")
    parser.add_argument("--check", action="store_true", help="check equivalent.toml")
    options = parser.parse_args()
    options.report = options.report or options.markdown
    if options.check:
        return Equivalents().check()
    if options.count < 1 or options.jobs < 1 or options.scale <= 0:
        parser.error("--count, --jobs and --scale must be positive")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 31)
    if not sources(options.path):
        parser.error("no such source")
    if not options.markdown:
        print(f"# generate.py --seed {options.seed} --count {options.count}", flush=True)
    Campaign(options).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
