"""The folder of claims: one YAML file each, `questions.yaml`, and `measurements.yaml`.

The block `judged` at the end of a file is rewritten by the command; all else stays as it was
written, comments included.
"""

from pathlib import Path

import yaml
from pydantic import TypeAdapter

from sentinel_research.baselines.store import DEFAULT_FOLDER as BASELINES
from sentinel_research.claims.schema import Claim, Judgement
from sentinel_research.claims.statistic import Measurement
from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.files import write_atomically
from sentinel_research.recipe import parse, read_yaml
from sentinel_research.specs.base import Spec

DEFAULT_FOLDER = BASELINES
_CLAIMS = "claims"
_JUDGED = "judged:\n"
_SUFFIX = ".yaml"
_MEASUREMENTS, _QUESTIONS = "measurements", "questions"


class Question(Spec):
    """A question that claims answer together."""

    question: str
    """As it was asked."""
    source: str
    """Document and section."""
    claims: tuple[str, ...]
    """Names of the claims whose verdicts are the answer."""


class Questions(Spec):
    """The file of all questions."""

    questions: tuple[Question, ...]
    """In the order of the report."""


def names(folder: Path = DEFAULT_FOLDER) -> list[str]:
    """All claims of a folder, sorted.

    Raises:
        UsageError: if there is none.
    """
    stems = (path.stem for path in (folder / _CLAIMS).glob(f"*{_SUFFIX}"))
    found = sorted(name for name in stems if name not in (_MEASUREMENTS, _QUESTIONS))
    if not found:
        raise UsageError(
            f"there are no claims in {folder / _CLAIMS}",
            "go to the folder of the project, or name that of its baselines with --folder",
        )
    return found


def claim_path(name: str, folder: Path = DEFAULT_FOLDER) -> Path:
    """The file of a claim.

    Raises:
        UsageError: if there is none of that name.
    """
    known = names(folder)
    if name not in known:
        raise UsageError(f"no claim '{name}' in {folder / _CLAIMS}", did_you_mean(name, known))
    return folder / _CLAIMS / f"{name}{_SUFFIX}"


def read_claim(name: str, folder: Path = DEFAULT_FOLDER) -> Claim:
    """Read a claim.

    Raises:
        UsageError: if there is none of that name, or its file is wrong.
    """
    path = claim_path(name, folder)
    return parse(Claim, read_yaml(path, Claim), str(path))


def read_questions(folder: Path = DEFAULT_FOLDER) -> tuple[Question, ...]:
    """The questions that the claims answer; none where there is no file of them.

    Raises:
        UsageError: for a wrong file, or a question that names an unknown claim.
    """
    path = folder / _CLAIMS / f"{_QUESTIONS}{_SUFFIX}"
    if not path.exists():
        return ()
    found = parse(Questions, read_yaml(path, Questions), str(path)).questions
    for one in found:
        for name in one.claims:
            claim_path(name, folder)
    return found


def read_measurements(folder: Path = DEFAULT_FOLDER) -> dict[str, Measurement]:
    """How the runs of claims come about, by name.

    Raises:
        UsageError: for a wrong file.
    """
    path = folder / _CLAIMS / f"{_MEASUREMENTS}{_SUFFIX}"
    content = read_yaml(path, Measurement) if path.exists() else {}
    return {name: parse(Measurement, one, f"{path}, {name}") for name, one in content.items()}


def write_judgement(name: str, judged: Judgement, folder: Path = DEFAULT_FOLDER) -> Path:
    """Put what came out at the end of a claim's file, in place of what came out before."""
    path = claim_path(name, folder)
    said = ("\n" + path.read_text(encoding="utf-8")).partition(f"\n{_JUDGED}")[0].strip("\n")
    content = TypeAdapter(Judgement).dump_python(judged, mode="json")
    block = yaml.safe_dump({"judged": content}, sort_keys=False, allow_unicode=True, width=100)
    write_atomically(path, f"{said}\n{block}")
    return path
