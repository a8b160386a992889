"""Change the package one small thing at a time, and see whether a test notices.

    python tests/faults/mutation.py                       a sample of every area
    python tests/faults/mutation.py statistics --sample 0 every mutant of one area

The mutants of an area are drawn by a seed, so that nights repeat each other until the code changes.
Each runs the tests that run its lines, the quickest first, for a minute of tests at most. It is
killed if one of them fails or does not end. A mutant of a function runs in a fork of a process that
has collected the tests (`mutants_plugin`); one of what is run when a file is loaded, in a fork of a
process that has loaded the libraries, with two minutes of all tests.
The share that was killed comes with its exact 95% interval. Mutants that survive are listed in
`survivors.yaml` with a reason, or get a test; those that say the same as the program (`equivalent`)
count apart. The command fails (exit code 1) where less than 85 percent of the others were killed,
and where the list is out of date: a survivor that is killed now, or whose code changed.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from areas import AREAS, Area
from copies import PACKAGE, ROOT, Copy
from mutants import Mutant, missing_names, mutants_of
from table import DOCUMENT, MUTANTS_HEADING, RATES, Rate, mutants_section

SURVIVORS = Path(__file__).with_name("survivors.yaml")
LEAST_KILLED = 0.85
_AT_LOADING = ""  # what coverage calls the time before the first test
_TEST_SECONDS = 60
_LIMIT_SECONDS = 900
_COVERAGE_SECONDS = 4 * 3600


class Result(NamedTuple):
    """What became of a mutant."""

    mutant: Mutant
    killed_by: str
    """The test; empty if it survived."""
    seconds: float
    num_tests: int
    """That were asked."""


class Knowledge(NamedTuple):
    """Which tests run what."""

    lines: dict[str, dict[str, list[str]]]
    """Tests by file and line."""
    seconds: dict[str, float]
    """By test."""

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Tests that run a mutant's lines, the quickest first.

        What is run when a file is loaded is noted for the test that loaded it, if any, and matters
        to any: one that reads a constant, or a field's bounds, runs no line of the file.
        """
        found = self._running(mutant) - {_AT_LOADING}
        limit = _TEST_SECONDS
        if not found or not mutant.in_function:
            found, limit = set(self.seconds), 2 * _TEST_SECONDS
        chosen, total = [], 0.0
        for test in sorted(found, key=lambda one: (self.seconds[one], one)):
            total += self.seconds[test]
            if chosen and total > limit:
                break
            chosen.append(test)
        return chosen

    def acts_at_loading(self, mutant: Mutant) -> bool:
        """Whether a mutant's lines are run when files are loaded, before any test or by one."""
        return not mutant.in_function or _AT_LOADING in self._running(mutant)

    def _running(self, mutant: Mutant) -> set[str]:
        by_line = self.lines.get(mutant.file, {})
        wanted = range(mutant.lines[0], mutant.lines[1] + 1)
        return {test for line in wanted for test in by_line.get(str(line), ())}


def learn(copy: Copy, tests: Sequence[str], kept: Path | None = None) -> Knowledge:
    """Run tests once, noting which lines each runs.

    Args:
        copy: Without a change.
        tests: Files.
        kept: Where the notes of an earlier run are, or will be.

    Raises:
        SystemExit: if one of them fails without any mutant.
    """
    table = kept or copy.folder / "lines.json"
    if table.exists():
        return Knowledge(**json.loads(table.read_text()))
    options = ["-q", "-p", "tests.faults.lines_by_test_plugin", "--lines-to", str(table)]
    done = copy.run([*options, *tests], _COVERAGE_SECONDS)
    if done.returncode:
        raise SystemExit(f"tests fail without any mutant:\n{done.stdout[-3000:]}{done.stderr}")
    return Knowledge(**json.loads(table.read_text()))


def judge(mutant: Mutant, copy: Copy, knowledge: Knowledge) -> Result:
    """Make a change, and run the tests that run it, in a process that loads the package anew."""
    start = time.perf_counter()
    tests = knowledge.tests_of(mutant)
    killed_by = ""
    if tests:
        only = copy.folder / "only.json"
        only.write_text(json.dumps(tests))
        files = dict.fromkeys(test.partition("::")[0] for test in tests)
        options = ["-p", "tests.faults.only_plugin", "--only", str(only)]
        with copy.changed(mutant.file, mutant.source):
            outcome = copy.test(*options, *files, limit_seconds=_LIMIT_SECONDS)
        killed_by = outcome.failed or ("time" if outcome.timed_out else "")
    return Result(mutant, killed_by, time.perf_counter() - start, len(tests))


def judge_some(
    mutants: Sequence[Mutant], copy: Copy, tests: Sequence[str], knowledge: Knowledge
) -> Iterator[Result]:
    """What becomes of mutants, one after the other, in the order in which it is known.

    Args:
        mutants: With names of their own.
        copy: In which they are made.
        tests: Files of all tests that may be asked.
        knowledge: Of these tests.
    """
    asked = {one.name: knowledge.tests_of(one) for one in mutants}
    quick = [one for one in mutants if asked[one.name] and not knowledge.acts_at_loading(one)]
    jobs = [
        {"name": one.name, "file": one.file, "source": one.source, "tests": asked[one.name]}
        for one in quick
    ]
    known = set()
    by_name = {one.name: one for one in mutants}
    for verdict in copy.verdicts(jobs, tests) if jobs else ():
        if verdict["killed_by"] is not None:
            name = verdict["name"]
            known.add(name)
            yield Result(by_name[name], verdict["killed_by"], verdict["seconds"], len(asked[name]))
    for one in mutants:
        if one.name not in known:
            yield judge(one, copy, knowledge)


def judge_all(
    mutants: Sequence[Mutant], tests: Sequence[str], num_copies: int, kept: Path | None
) -> list[Result]:
    """What became of every mutant, some at the same time; in their order."""
    with tempfile.TemporaryDirectory() as temporary:
        copies = [Copy(Path(temporary, str(number))) for number in range(num_copies)]
        knowledge = learn(copies[0], tests, kept)

        def work(number: int) -> list[Result]:
            found = []
            own = mutants[number::num_copies]
            for result in judge_some(own, copies[number], tests, knowledge):
                what = result.killed_by or "SURVIVED"
                print(f"{result.seconds:4.0f} s  {result.mutant.name}  {what}", file=sys.stderr)
                found.append(result)
            return found

        with ThreadPoolExecutor(num_copies) as pool:
            parts = list(pool.map(work, range(num_copies)))
        for copy in copies:
            copy.close()
    by_name = {one.mutant.name: one for part in parts for one in part}
    return [by_name[mutant.name] for mutant in mutants]


def mutants_in(area: Area) -> list[Mutant]:
    """Every mutant of an area."""
    package = ROOT / PACKAGE
    return [
        mutant
        for path in area.paths(package)
        for mutant in mutants_of(str(path.relative_to(package)), path.read_text())
    ]


def rate_of(
    area: str, num_mutants: int, results: Sequence[Result], kinds: Mapping[str, str]
) -> Rate:
    """What became of an area's mutants.

    Args:
        area: Its name.
        num_mutants: All that there are.
        results: Of those that were drawn.
        kinds: Of listed survivors, by name.
    """
    survived = Counter(kinds.get(one.mutant.name) for one in results if not one.killed_by)
    return Rate(
        area,
        num_mutants,
        drawn=len(results),
        killed=sum(bool(one.killed_by) for one in results),
        equivalent=survived["equivalent"],
        accepted=survived["accepted"],
    )


def out_of_date(
    listed: Sequence[dict[str, Any]], mutants: Sequence[Mutant], results: Sequence[Result]
) -> list[str]:
    """What the list of survivors says that is no longer so.

    Args:
        listed: The list's entries for the files of these mutants.
        mutants: Every mutant of them.
        results: What became of a sample.
    """
    names = [one["mutant"] for one in listed]
    killed = {one.mutant.name: one.killed_by for one in results if one.killed_by}
    return [
        *(f"no such mutant any more: {name}" for name in missing_names(names, mutants)),
        *(f"killed by {killed[name]}: {name}" for name in names if name in killed),
    ]


def main() -> int:
    """Draw, run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("areas", nargs="*", help=", ".join(area.name for area in AREAS))
    parser.add_argument("--sample", type=int, default=60, help="of every area; 0 is all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-j", type=int, default=2, help="how many at the same time")
    parser.add_argument(
        "--lines", type=Path, help="file with which tests run which lines; made where it is missing"
    )
    parser.add_argument("--write", action="store_true", help=f"the table, to {DOCUMENT}")
    asked = parser.parse_args()
    chosen = [area for area in AREAS if not asked.areas or area.name in asked.areas]
    if len(chosen) < len(set(asked.areas)):
        parser.error(f"areas are {', '.join(area.name for area in AREAS)}")
    every = {area.name: mutants_in(area) for area in chosen}
    drawn = {
        name: random.Random(f"{asked.seed} {name}").sample(
            mutants, min(asked.sample or len(mutants), len(mutants))
        )
        for name, mutants in every.items()
    }
    tests = list(dict.fromkeys(test for area in chosen for test in area.test_paths(ROOT)))
    sampled = [one for sample in drawn.values() for one in sample]
    results = judge_all(sampled, tests, asked.j, asked.lines)
    return report(every, drawn, results, writes=asked.write)


def report(
    every: dict[str, list[Mutant]],
    drawn: dict[str, list[Mutant]],
    results: Sequence[Result],
    *,
    writes: bool,
) -> int:
    """Print the table, the survivors and what is wrong with their list; the exit code."""
    files = {mutant.file for mutants in every.values() for mutant in mutants}
    listed = [
        one
        for one in yaml.safe_load(SURVIVORS.read_text()) or ()
        if one["mutant"].partition(" ")[0] in files
    ]
    reasons = {one["mutant"]: f"{one['kind']}: {one['reason']}" for one in listed}
    kinds = {one["mutant"]: one["kind"] for one in listed}
    rates, rest = [], list(results)
    for name, sample in drawn.items():
        own, rest = rest[: len(sample)], rest[len(sample) :]
        rates.append(rate_of(name, len(every[name]), own, kinds))
    print(mutants_section([one._asdict() for one in rates]))
    print("Survivors:\n")
    for one in results:
        if not one.killed_by:
            why = reasons.get(one.mutant.name, "NOT LISTED: write a test, or list it")
            print(f"- {one.mutant.name}\n  {why} ({one.num_tests} tests asked)")
    wrong = out_of_date(listed, [one for mutants in every.values() for one in mutants], results)
    for problem in wrong:
        print(f"{SURVIVORS.name}: {problem}")
    if writes:
        write_rates(rates)
    return int(bool(wrong) or any(one.killed < LEAST_KILLED * one.counted for one in rates))


def write_rates(rates: Sequence[Rate]) -> None:
    """Keep what was measured, in place of what was known of the same areas."""
    known = {one["area"]: one for one in yaml.safe_load(RATES.read_text())}
    known |= {one.area: one._asdict() for one in rates}
    kept = [known[area.name] for area in AREAS if area.name in known]
    RATES.write_text(yaml.safe_dump(kept, sort_keys=False))
    page = ROOT / DOCUMENT
    faults = page.read_text().partition(MUTANTS_HEADING)[0].rstrip()
    page.write_text(f"{faults}\n\n{mutants_section(kept)}")


if __name__ == "__main__":
    sys.exit(main())
