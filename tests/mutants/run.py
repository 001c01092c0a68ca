#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Build each mistake of the tables beside this file and demand that its test or model catches it.

README.md in this folder describes the tables and what counts as caught.
"""

import argparse
import concurrent.futures
import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

CATCHER_KEYS = {"needs", "build", "run", "timeout", "build_timeout", "pass", "violation", "symptom",
                "env"}
MUTANT_KEYS = {"name", "why", "file", "old", "new", "edits", "catcher", "violation", "symptom",
               "timeout", "env"}
SYMPTOMS = ("violation", "crash", "hang", "either")
# Statuses of a shell whose command died of these; SIGABRT is how an assertion ends.
CRASHES = {128 + s for s in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
                             signal.SIGKILL, signal.SIGTERM, signal.SIGTRAP, signal.SIGSYS)}


class TableError(Exception):
    """A table, or the source that a row speaks of, is not as it has to be."""


def demand(condition, message):
    if not condition:
        raise TableError(message)


def as_list(value):
    return [value] if isinstance(value, str) else value


def check_regex(where, pattern):
    try:
        re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise TableError(f"{where}: {pattern!r} is no regular expression: {error}") from error


def load(paths):
    """Read all tables; returns the catchers by name and the list of mutants."""
    catchers, mutants = {}, {}
    for path in paths:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TableError(f"{path}: {error}") from error
        unknown = set(table) - {"catcher", "mutant"}
        demand(not unknown, f"{path}: unknown {sorted(unknown)}")
        for name, catcher in table.get("catcher", {}).items():
            where = f"{path}: catcher {name}"
            demand(name not in catchers, f"{where}: there are two")
            unknown = set(catcher) - CATCHER_KEYS
            demand(not unknown, f"{where}: unknown {sorted(unknown)}")
            demand("needs" in catcher and "run" in catcher, f"{where}: lacks needs or run")
            demand(catcher.get("symptom", "violation") in SYMPTOMS, f"{where}: unknown symptom")
            for key in ("pass", "violation"):
                if key in catcher:
                    check_regex(where, catcher[key])
            catchers[name] = catcher
        for mutant in table.get("mutant", []):
            name = mutant.get("name", "")
            where = f"{path}: mutant {name or '(no name)'}"
            demand(re.fullmatch(r"[\w.-]+", name), f"{where}: bad name")
            demand(name not in mutants, f"{where}: there are two")
            unknown = set(mutant) - MUTANT_KEYS
            demand(not unknown, f"{where}: unknown {sorted(unknown)}")
            demand(mutant.get("why"), f"{where}: lacks why")
            demand(mutant.get("catcher"), f"{where}: lacks catcher")
            demand(mutant.get("symptom", "violation") in SYMPTOMS, f"{where}: unknown symptom")
            if "violation" in mutant:
                check_regex(where, mutant["violation"])
            if "edits" not in mutant:
                mutant["edits"] = [{key: mutant[key] for key in ("file", "old", "new")
                                    if key in mutant}]
            else:
                demand(not {"file", "old", "new"} & set(mutant), f"{where}: edits and an edit")
            for edit in mutant["edits"]:
                demand(set(edit) == {"file", "old", "new"}, f"{where}: lacks file, old or new")
                demand(edit["old"] != edit["new"], f"{where}: old and new are the same")
            mutant["table"] = path
            mutants[name] = mutant
    for name, mutant in mutants.items():
        demand(mutant["catcher"] in catchers, f"mutant {name}: no catcher {mutant['catcher']}")
    return catchers, list(mutants.values())


def mutate(mutant):
    """The texts of the files that the row edits, edited, by path."""
    texts = {}
    for edit in mutant["edits"]:
        name = edit["file"]
        if name not in texts:
            try:
                texts[name] = (ROOT / name).read_text(encoding="utf-8")
            except OSError as error:
                raise TableError(f"mutant {mutant['name']}: {error}") from error
        found = texts[name].count(edit["old"])
        demand(found == 1, f"mutant {mutant['name']}: old stands {found} times in {name}, not once")
        texts[name] = texts[name].replace(edit["old"], edit["new"])
    return texts


def copy_needs(catcher_name, catcher, folder):
    for pattern in as_list(catcher["needs"]):
        sources = sorted(ROOT.glob(pattern))
        demand(sources, f"catcher {catcher_name}: nothing matches {pattern}")
        for source in sources:
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)


def shell(command, folder, env, limit):
    """Run a command in its own process group. Returns (status or None when out of time, output)."""
    # Output goes to a file: a program that fills a pipe while nobody reads looks like a hang. The
    # outer timeout(1) ends what would go on for ever when this script itself is killed.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(["timeout", "-s", "KILL", str(limit + 5),
                                    "/bin/sh", "-c", command],
                                   cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(limit)
            if status < 0:
                status = 128 - status
        except subprocess.TimeoutExpired:
            status = None
            # The group that timeout(1) made for itself is that of the session.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return status, output.read().decode("utf-8", "replace")


class Result:
    def __init__(self, kind, text, output=""):
        self.kind = kind  # passed, failed, crash, hang or build
        self.text = text
        self.output = output


class Runner:
    def __init__(self, catchers, build_dir):
        self.catchers = catchers
        self.build_dir = build_dir
        self.lock = threading.Lock()
        self.clean = {}  # (catcher, env) -> future of its run without a mistake

    def run(self, mutant, catcher_name, folder_name, texts):
        catcher = self.catchers[catcher_name]
        folder = self.build_dir / folder_name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        copy_needs(catcher_name, catcher, folder)
        for name, text in texts.items():
            target = folder / name
            demand(target.exists(),
                   f"mutant {mutant['name']}: {name} is not among what {catcher_name} needs")
            target.write_text(text, encoding="utf-8")
        env = dict(os.environ)
        env.setdefault("CC", "cc")
        env.setdefault("CXX", "c++")
        env.update(catcher.get("env", {}))
        env.update(mutant.get("env", {}))
        for command in as_list(catcher.get("build", [])):
            status, output = shell(command, folder, env, catcher.get("build_timeout", 120))
            if status is None:
                return Result("build", "the build takes too long", output)
            if status != 0:
                return Result("build", f"the build fails: {command}", output)
        limit = mutant.get("timeout", catcher.get("timeout", 60))
        status, output = shell(catcher["run"], folder, env, limit)
        if status is None:
            return Result("hang", f"not done after {limit} s", output)
        if status in CRASHES:
            return Result("crash", f"killed by {signal.Signals(status - 128).name}", output)
        if status != 0:
            return Result("failed", f"exit status {status}", output)
        if "pass" in catcher and not re.search(catcher["pass"], output, re.MULTILINE):
            return Result("failed", f"no {catcher['pass']!r} in the output", output)
        return Result("passed", "passes", output)

    def run_clean(self, mutant):
        """The catcher's run without a mistake; done once for all rows with the same environment."""
        name = mutant["catcher"]
        key = name, tuple(sorted(mutant.get("env", {}).items()))
        with self.lock:
            future = self.clean.get(key)
            mine = future is None
            if mine:
                future = self.clean[key] = concurrent.futures.Future()
                number = len(self.clean)
        if mine:
            try:
                unedited = {key: mutant[key] for key in ("name", "env") if key in mutant}
                future.set_result(self.run(unedited, name, f"clean-{number}-{name}", {}))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def judge(self, mutant, texts):
        """Returns (caught, reason, output)."""
        clean = self.run_clean(mutant)
        if clean.kind != "passed":
            return False, f"without the mistake: {clean.text}", clean.output
        result = self.run(mutant, mutant["catcher"], mutant["name"], texts)
        catcher = self.catchers[mutant["catcher"]]
        symptom = mutant.get("symptom", catcher.get("symptom", "violation"))
        if symptom == "either" and result.kind in ("crash", "hang"):
            return True, result.text, result.output
        if symptom not in ("violation", "either"):
            return result.kind == symptom, result.text, result.output
        if result.kind in ("passed", "build"):
            return False, result.text, result.output
        # What was reported was noticed, however the run ended afterwards.
        pattern = mutant.get("violation", catcher.get("violation"))
        if not pattern and result.kind != "failed":
            return False, result.text, result.output
        if pattern:
            match = re.search(pattern, result.output, re.MULTILINE)
            if not match:
                return False, f"{result.text}, but no {pattern!r} in the output", result.output
            return True, f"{result.text}: {match.group(0).strip()}", result.output
        return True, result.text, result.output


def tail(text, lines=20):
    return "".join(f"    | {line}\n" for line in text.splitlines()[-lines:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="GLOB", help="rows with such a name")
    parser.add_argument("--table", action="append", metavar="FILE", type=Path,
                        help="this table only")
    parser.add_argument("--list", action="store_true", help="print the rows, build nothing")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="at once (2)")
    parser.add_argument("--build-dir", type=Path, metavar="DIR", help="where to build")
    parser.add_argument("--verbose", action="store_true", help="with the output of each run")
    arguments = parser.parse_args()

    # All tables are read even when one is asked for: it may use the catchers of another.
    own = sorted(HERE.glob("*.toml"))
    chosen = [path.resolve() for path in arguments.table or own]
    try:
        catchers, mutants = load(sorted(set(own) | set(chosen)))
        mutants = [mutant for mutant in mutants if mutant["table"] in chosen]
        if arguments.only:
            mutants = [mutant for mutant in mutants
                       if any(fnmatch.fnmatchcase(mutant["name"], glob) for glob in arguments.only)]
        demand(mutants, "no such row")
        texts = {mutant["name"]: mutate(mutant) for mutant in mutants}
    except TableError as error:
        print(error, file=sys.stderr)
        return 2
    width = max(len(mutant["name"]) for mutant in mutants)
    catcher_width = max(len(mutant["catcher"]) for mutant in mutants)
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant['name']:{width}}  {mutant['catcher']:{catcher_width}}  {mutant['why']}")
        return 0

    build_dir = arguments.build_dir
    temporary = None
    if build_dir is None:
        temporary = tempfile.TemporaryDirectory(prefix="folio-mutants-")
        build_dir = Path(temporary.name)
    build_dir = build_dir.resolve()
    runner = Runner(catchers, build_dir)
    seconds = {}

    def timed(mutant):
        start = time.monotonic()
        verdict = runner.judge(mutant, texts[mutant["name"]])
        seconds[mutant["name"]] = time.monotonic() - start
        return verdict

    caught, missed = 0, []
    with concurrent.futures.ThreadPoolExecutor(max(1, arguments.jobs)) as pool:
        futures = [(mutant, pool.submit(timed, mutant)) for mutant in mutants]
        try:
            for mutant, future in futures:
                good, reason, output = future.result()
                print(f"{'caught' if good else 'NOT CAUGHT':10}  {mutant['name']:{width}}  "
                      f"{mutant['catcher']:{catcher_width}}  {seconds[mutant['name']]:5.1f} s  "
                      f"{reason}", flush=True)
                if not good or arguments.verbose:
                    print(tail(output), end="", flush=True)
                caught += good
                if not good:
                    missed.append(mutant["name"])
        except TableError as error:
            for _, future in futures:
                future.cancel()
            print(error, file=sys.stderr)
            return 2
    if temporary:
        temporary.cleanup()
    # By name again: between many lines that are as they should be one is not seen.
    print(f"{caught} caught, {len(missed)} not caught{': ' if missed else ''}{', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
