"""How varied the texts are that a model writes while it is trained, step by step."""

from collections.abc import Mapping, Sequence
from typing import Any

from sentinel_research.metrics.self_bleu import words_of
from sentinel_research.metrics.text_quality import text_quality
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.plots import Line, Panel, Spread, draw_lines
from sentinel_research.reporting.svg import Drawing
from sentinel_research.reporting.tables import Cell, Table
from sentinel_research.statistics import normal_interval

_METRICS = ("distinct-2", "seq-rep-4")
_MOST_ARMS = 12
NOTE = (
    "Distinct-2: different pairs of words over all; seq-rep-4: repeated runs of four words within "
    "a text; of the words of the texts that were written at a step. Bars are 95% over prompts "
    "(jackknife), where there are several. Good is near human text, neither above nor below."
)


def draw_text_quality(
    written: Mapping[str, Sequence[Mapping[str, Any]]], name: str, synthetic_data: bool
) -> Drawing | None:
    """Draw the variety of texts by step.

    Args:
        written: Of every training its samples, with `step`, `prompt` and `text`; at most twelve
            trainings can be told apart, the first ones.
        name: Of the file, without suffix.
        synthetic_data: Whether to mark the figure.

    Returns:
        The figure; None if no text is long enough for any number.
    """
    panels = []
    shown = dict([*written.items()][:_MOST_ARMS])
    measured = {arm: _by_step(samples) for arm, samples in shown.items()}
    for metric in _METRICS:
        lines = []
        for arm, steps in measured.items():
            points = [(step, found[metric]) for step, found in steps.items() if metric in found]
            if points:
                lines.append(Line(arm, tuple(points)))
        if lines:
            panels.append(Panel(metric, tuple(lines)))
    if not panels:
        return None
    title = "Variety of written text by step"
    return draw_lines(panels, name=name, title=title, across="step", synthetic_data=synthetic_data)


def _by_step(samples: Sequence[Mapping[str, Any]]) -> dict[float, dict[str, Spread]]:
    texts: dict[float, list[list[str]]] = {}
    for one in samples:
        texts.setdefault(float(one["step"]), []).append([str(one["text"])])
    found: dict[float, dict[str, Spread]] = {}
    for step, groups in sorted(texts.items()):
        words = [[words_of(text) for text in group] for group in groups]
        quality = text_quality(words, groups)
        for metric in _METRICS:
            value, stderr = quality[metric].value, quality[metric].stderr
            if value is not None:
                ends = () if stderr is None else normal_interval(value, stderr)[1:]
                found.setdefault(step, {})[metric] = Spread(value, *ends)
    return found


def training_texts(report: Mapping[str, Any], synthetic_data: bool) -> tuple[Part, ...]:
    """What a model wrote while it was trained from scratch: the texts, and how varied they are.

    Args:
        report: The train stage's.
        synthetic_data: Whether to mark the figure.
    """
    samples = report.get("samples") or ()
    if not samples:
        return ()
    rows = tuple(
        (Cell(f"{one['step']:,}", kind="number"), Cell(one["prompt"]), Cell(one["text"]))
        for one in samples
    )
    table = Table(("step", "prompt", "text"), rows)
    figure = draw_text_quality({"training": samples}, "training_text", synthetic_data)
    title = "Texts written while training"
    return (Part("texts", title, table, figure, () if figure is None else (NOTE,), "", samples),)
