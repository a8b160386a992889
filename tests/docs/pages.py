"""Pages of docs/commands: what a person wrote, and below a line what `--help` says.

python tests/docs/pages.py writes the lower half of every page again.
"""

import re
import sys
from pathlib import Path
from unittest import mock

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = DOCS / "commands"
LINE = "<!-- below: what `--help` says, written by tests/docs/pages.py -->"


def references() -> dict[str, str]:
    """What the command line says of itself, by command; headings as parts of a page."""
    from sentinel_research.cli.app import app

    # cyclopts names commands by the program that asks
    with mock.patch.object(sys, "argv", ["sentinel"]):
        every = app.generate_docs(output_format="markdown", usage_name="sentinel")
    found = {}
    for part in re.split(r"^## (?=sentinel )", every, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        # docs/progress.md has the one flag that stands alone
        if title.startswith("sentinel --"):
            continue
        found[title.removeprefix("sentinel ")] = f"## Reference\n{text.rstrip()}\n"
    return found


def halves(page: Path) -> tuple[str, str]:
    """What a person wrote, and what was generated."""
    written, _, generated = page.read_text().partition(f"{LINE}\n\n")
    return written, generated


def main() -> int:
    """Write the lower half of every page again; a page that is missing is for a person to begin."""
    for command, reference in references().items():
        page = COMMANDS / f"{command}.md"
        page.write_text(f"{halves(page)[0]}{LINE}\n\n{reference}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
