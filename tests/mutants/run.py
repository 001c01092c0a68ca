#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Build each mutant of the tables in this folder and demand that its test or model catches it.

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

CATCHER_KEYS = {"needs", "build", "run", "timeout", "build_timeout", "pass", "skip", "violation",
                "symptom", "env"}
MUTANT_KEYS = {"name", "why", "file", "old", "new", "edits", "catcher", "skip", "violation",
               "symptom", "timeout", "env"}
ATTEMPTS = 3
SYMPTOMS = ("violation", "crash", "hang", "either")
# Statuses of a shell whose command died of these; SIGABRT is how an assertion ends.
CRASHES = {128 + s for s in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
                             signal.SIGKILL, signal.SIGTERM, signal.SIGTRAP, signal.SIGSYS)}


class TableError(Exception):
    """A table is wrong, or does not match the source that it quotes."""


def demand(condition, message):
    if not condition:
        raise TableError(message)


def as_list(value):
    return [value] if isinstance(value, str) else value


def check_regex(where, pattern):
    try:
        re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise TableError(f"{where}: {pattern!r} is not a regular expression: {error}") from error


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
            for key in ("pass", "skip", "violation"):
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
            for key in ("skip", "violation"):
                if key in mutant:
                    check_regex(where, mutant[key])
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


def apply_edits(mutant):
    """Apply the edits of a row in order. Returns (edited texts by path, problems)."""
    texts, problems = {}, []
    for edit in mutant["edits"]:
        name = edit["file"]
        if name not in texts:
            try:
                texts[name] = (ROOT / name).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                problems.append(f"{name}: {error}")
                continue
        found = texts[name].count(edit["old"])
        if found == 1:
            texts[name] = texts[name].replace(edit["old"], edit["new"])
        else:
            problems.append(f"old occurs {found} times in {name}, not once")
    return texts, problems


def mutate(mutant):
    """The texts of the files that the row edits, edited, by path."""
    texts, problems = apply_edits(mutant)
    demand(not problems, f"mutant {mutant['name']}: {'; '.join(problems)}")
    return texts


def check(catchers, mutants):
    """Print everything that is wrong with these rows and with all catchers; returns the status."""
    needed, problems = {}, []
    for name, catcher in catchers.items():
        needed[name] = []
        for pattern in as_list(catcher["needs"]):
            paths = list(ROOT.glob(pattern))
            needed[name] += paths
            if not paths:
                problems.append(f"catcher {name}: nothing matches {pattern}")
    for mutant in mutants:
        found = apply_edits(mutant)[1]
        for name in dict.fromkeys(edit["file"] for edit in mutant["edits"]):
            path = ROOT / name
            if not any(path == need or need in path.parents for need in needed[mutant["catcher"]]):
                found.append(f"{name} is not among the files that {mutant['catcher']} needs")
        problems += [f"{os.path.relpath(mutant['table'], ROOT)}: mutant {mutant['name']}: {problem}"
                     for problem in found]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(mutants)} rows, {len(problems)} problems")
    return 2 if problems else 0


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
    """Run a command in its own process group. Returns (status or None after a timeout, output)."""
    # Output goes to a file: a program that fills a pipe without a reader looks like a hang. The
    # outer timeout(1) ends a command that would run for ever after this script itself is killed.
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
            # The process group that timeout(1) creates is that of the session.
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
        self.clean = {}  # (catcher, env) -> future of its run without a mutant

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
                   f"mutant {mutant['name']}: {name} is not among the files that {catcher_name} "
                   f"needs")
            target.write_text(text, encoding="utf-8")
        env = dict(os.environ)
        env.setdefault("CC", str(HERE / "cc.sh"))
        env.setdefault("CXX", "c++")
        env.update(catcher.get("env", {}))
        env.update(mutant.get("env", {}))
        for command in as_list(catcher.get("build", [])):
            status, output = shell(command, folder, env, catcher.get("build_timeout", 120))
            if status is None:
                return Result("build", "the build timed out", output)
            if status != 0:
                return Result("build", f"the build fails: {command}", output)
        limit = mutant.get("timeout", catcher.get("timeout", 60))
        status, output = shell(catcher["run"], folder, env, limit)
        if status is None:
            return Result("hang", f"timed out after {limit} s", output)
        if status in CRASHES:
            return Result("crash", f"killed by {signal.Signals(status - 128).name}", output)
        if status != 0:
            return Result("failed", f"exit status {status}", output)
        if "pass" in catcher and not re.search(catcher["pass"], output, re.MULTILINE):
            return Result("failed", f"no {catcher['pass']!r} in the output", output)
        return Result("passed", "passes", output)

    def run_clean(self, mutant):
        """The catcher's run without a mutant; done once for all rows with the same environment."""
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
                for attempt in range(ATTEMPTS):
                    folder = f"clean-{number}-{attempt}-{name}"
                    result = self.run(unedited, name, folder, {})
                    if result.kind in ("passed", "build"):
                        break
                future.set_result(result)
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def judge(self, mutant, texts):
        """Returns (caught, or None if the catcher cannot run here; reason; output)."""
        clean = self.run_clean(mutant)
        if clean.kind != "passed":
            return False, f"without the mutant: {clean.text}", clean.output
        skip = mutant.get("skip", self.catchers[mutant["catcher"]].get("skip"))
        skipped = re.search(skip, clean.output, re.MULTILINE) if skip else None
        if skipped:
            return None, skipped.group(0), clean.output
        # The schedule may decide how a bug shows: the wrong result is noticed, or a thread that
        # uses it crashes first. The expected symptom in one of a few runs is enough.
        for attempt in range(1, ATTEMPTS + 1):
            good, reason, output = self.judge_once(mutant, texts)
            if good:
                break
        return good, reason if attempt == 1 else f"{reason} (attempt {attempt})", output

    def judge_once(self, mutant, texts):
        result = self.run(mutant, mutant["catcher"], mutant["name"], texts)
        catcher = self.catchers[mutant["catcher"]]
        symptom = mutant.get("symptom", catcher.get("symptom", "violation"))
        if symptom == "either" and result.kind in ("crash", "hang"):
            return True, result.text, result.output
        if symptom not in ("violation", "either"):
            return result.kind == symptom, result.text, result.output
        if result.kind in ("passed", "build"):
            return False, result.text, result.output
        # A reported violation counts, however the run ended afterwards.
        pattern = mutant.get("violation", catcher.get("violation"))
        if not pattern and result.kind in ("passed", "build"):
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
    parser.add_argument("--check", action="store_true",
                        help="check the rows of all tables against the sources, build nothing")
    parser.add_argument("--jobs", type=int, default=2, metavar="N",
                        help="number of mutants in parallel (2)")
    parser.add_argument("--build-dir", type=Path, metavar="DIR", help="where to build")
    parser.add_argument("--verbose", action="store_true", help="with the output of each run")
    arguments = parser.parse_args()

    # All tables are read even if one is chosen: it may use the catchers of another.
    own = sorted(set(HERE.glob("*.toml")) - {HERE / "equivalent.toml"})  # that is generate.py's
    others = sorted(HERE.parent.glob("*/mutants.toml"))
    chosen = arguments.table or (own + others if arguments.check else own)
    chosen = [path.resolve() for path in chosen]
    try:
        catchers, mutants = load(sorted(set(own) | set(others) | set(chosen)))
        mutants = [mutant for mutant in mutants if mutant["table"] in chosen]
        if arguments.only:
            mutants = [mutant for mutant in mutants
                       if any(fnmatch.fnmatchcase(mutant["name"], glob) for glob in arguments.only)]
        demand(mutants, "no such row")
        if arguments.check:
            return check(catchers, mutants)
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

    caught, missed, skipped = 0, [], []
    with concurrent.futures.ThreadPoolExecutor(max(1, arguments.jobs)) as pool:
        futures = [(mutant, pool.submit(timed, mutant)) for mutant in mutants]
        try:
            for mutant, future in futures:
                good, reason, output = future.result()
                word = "cannot run" if good is None else "caught" if good else "NOT CAUGHT"
                print(f"{word:10}  {mutant['name']:{width}}  "
                      f"{mutant['catcher']:{catcher_width}}  {seconds[mutant['name']]:5.1f} s  "
                      f"{reason}", flush=True)
                if good is False or arguments.verbose:
                    print(tail(output), end="", flush=True)
                if good is None:
                    skipped.append(mutant["name"])
                elif good:
                    caught += 1
                else:
                    missed.append(mutant["name"])
        except TableError as error:
            for _, future in futures:
                future.cancel()
            print(error, file=sys.stderr)
            return 2
    if temporary:
        temporary.cleanup()
    # Repeat the names: one failure is easily overlooked among many good lines.
    if skipped:
        print(f"{len(skipped)} cannot run here: {', '.join(skipped)}")
    print(f"{caught} caught, {len(missed)} not caught{': ' if missed else ''}{', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
