"""Plant faults in a copy of the package one at a time, and print which test catches each.

    python tests/faults/run.py            all faults
    python tests/faults/run.py -k gate    those whose name matches "gate"
    python tests/faults/run.py --write    all, and write the table to docs/faults.md

Every fault is a small edit, of the kind that is legal in shape and silent: a wrong layout, a stale
attribute, a missing sign. It must be caught by the check that it names. Where that check is blind,
the tests of its folder are asked, and the table says so. In the copy the self-check of the surgery
(`check_agreement`) is off, so that the laws have to notice. A fault that its check does not catch
fails the command (exit code 1); so does one that can no longer be planted because the code moved on
(a test of the normal suite says so first).
"""

import argparse
import queue
import re
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from catalogue import FAULTS, SELF_CHECK
from copies import PACKAGE, ROOT, Copy, Outcome
from fault import Fault
from table import DOCUMENT, Row, document, rate_line, row_line, table_head

_LIMIT_SECONDS = 900
_OF_THE_CATALOGUE = "tests/unit/test_faults.py"


def planted(fault: Fault, folder: Path) -> str:
    """The file of a fault after the edit.

    Raises:
        SystemExit: if the text to replace is not there exactly once.
    """
    source = (folder / PACKAGE / fault.file).read_text()
    if source.count(fault.old) != 1:
        raise SystemExit(
            f"{fault.name}: {source.count(fault.old)} places to plant it in {fault.file}"
        )
    return source.replace(fault.old, fault.new)


def catch(fault: Fault, copy: Copy) -> Row:
    """Plant a fault, and see what notices."""
    with copy.changed(fault.file, planted(fault, copy.folder)):
        outcome = copy.test(fault.caught_by, limit_seconds=_LIMIT_SECONDS)
        seconds = outcome.seconds
        if not _is_caught(outcome):
            folder = str(PurePosixPath(fault.caught_by.partition("::")[0]).parent)
            # the self-check is off, and so is what tests it; and one test compares the code with
            # the catalogue
            others = ["-k", "not self_check", f"--ignore={_OF_THE_CATALOGUE}", folder]
            outcome = copy.test(*others, limit_seconds=_LIMIT_SECONDS)
            seconds += outcome.seconds
    return Row(fault, outcome.failed or ("time" if outcome.timed_out else ""), seconds)


def _is_caught(outcome: Outcome) -> bool:
    return bool(outcome.failed) or outcome.timed_out


def catch_all(faults: Sequence[Fault], num_copies: int) -> list[Row]:
    """Plant faults in some copies at the same time, printing each row once it is known."""
    with tempfile.TemporaryDirectory() as temporary:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(num_copies):
            copy = Copy(Path(temporary, str(number)))
            path = copy.folder / PACKAGE / SELF_CHECK.file
            path.write_text(planted(SELF_CHECK, copy.folder))
            copies.put(copy)
        checks = sorted({fault.caught_by for fault in faults})
        outcome = copy.test(*checks, limit_seconds=_LIMIT_SECONDS)
        if _is_caught(outcome):
            raise SystemExit(f"{outcome.failed or 'the run'} fails without any fault")
        print(table_head(len(faults)))

        def work(fault: Fault) -> Row:
            own = copies.get()
            try:
                row = catch(fault, own)
            finally:
                copies.put(own)
            print(row_line(row), flush=True)
            return row

        with ThreadPoolExecutor(num_copies) as pool:
            rows = list(pool.map(work, faults))
        for _ in range(num_copies):
            copies.get().close()
    return rows


def main() -> int:
    """Plant every fault and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", default="", help="only faults whose name matches this")
    parser.add_argument("-j", type=int, default=2, help="how many at the same time")
    parser.add_argument("--write", action="store_true", help=f"write the table to {DOCUMENT}")
    asked = parser.parse_args()
    rows = catch_all([fault for fault in FAULTS if re.search(asked.k, fault.name)], asked.j)
    print(f"\n{rate_line(rows)}")
    if asked.write:
        if asked.k:
            parser.error("--write is for all faults")
        (ROOT / DOCUMENT).write_text(document(rows))
    return 0 if all(row.is_caught_by_its_check for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
