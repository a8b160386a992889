"""The parts of a report about written text, each with its numbers or with why there are none."""

from typing import Any

from sentinel_research.record import RunRecord
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.generation.results import (
    HUMAN,
    Difference,
    Generations,
    Quality,
    Speed,
    Value,
    read_generations,
)
from sentinel_research.reporting.numbers import number, p_value, quantity, with_error
from sentinel_research.reporting.tables import Cell, Table

_NAMES = {"self-bleu": "self-BLEU", "self-bleu-same-prompt": "self-BLEU, same prompt"}
_NONE = Cell("-", kind="number")
_MAX_EXAMPLES = 60
_METRICS_NOTE = (
    "Distinct-n: different n-grams over all n-grams of a set of texts (Li et al. 2016); seq-rep-n: "
    "one less the same share within each text (Welleck et al. 2020); both of tokens. Self-BLEU: "
    "BLEU of each text with the others of the set as references (Zhu et al. 2018), of words, "
    "sacrebleu's tokenisation 13a and smoothing exp; for texts of 4 words or more. A set has one "
    "text of every prompt; several samples are several sets, and their mean is given. Good is near "
    "the human text, neither above nor below."
)
_TEST_NOTE = (
    "The model less the dense one, paired by prompt: Student's t test of jackknife values, "
    "corrected by Holm. Prompts and noise are the same for all models. Detectable: the smallest "
    "true difference that the test without correction finds four times in five."
)
_RATIO_NOTE = (
    "Ratios of medians to the dense model; models are timed one after the other, so they hold what "
    "else the machine did. Time on the processor is that of all threads."
)


def compare_generations(record: RunRecord) -> tuple[Part, ...]:
    """Everything about written text of a run.

    Args:
        record: Any run.

    Returns:
        The parts; none if the run was not asked to write.
    """
    found = read_generations(record)
    if found is None:
        return ()
    absent = " ".join(f"{cell}: {reason}." for cell, reason in found.not_measured.items())
    if not found.quality:
        return (Part("quality", "Quality of written text", None, None, (), absent, None),)
    asked = record.recipe["evaluate"]["generation"]
    parts = [_quality(found, asked, absent), _differences(found), _speed(found)]
    return (*(part for part in parts if part is not None), _examples(found))


def _quality(found: Generations, asked: dict[str, Any], absent: str) -> Part:
    every = found.quality[0].metrics
    names = [name for name in every if any(_has_value(one, name) for one in found.quality)]
    reasons = {_NAMES.get(name, name): _reason(found, name) for name in every if name not in names}
    absent = " ".join([absent, *(f"{name}: {reason}." for name, reason in reasons.items())]).strip()
    headers = ("model", *(_NAMES.get(name, name) for name in names), "texts", "ended")
    rows = tuple(_quality_row(one, names) for one in found.quality)
    samples = quantity(asked["num_samples"], "continuation")
    drawn = f"temperature {asked['temperature']:g}" if asked["temperature"] else "likeliest tokens"
    limits = [f"{name} {asked[name]}" for name in ("top_k", "top_p") if asked[name] is not None]
    covered = (
        f"{samples} of each of {asked['num_prompts']} prompts of {asked['corpus']}, "
        f"{asked['split']}, with {quantity(asked['prompt_tokens'], 'token')} of text before it; at "
        f"most {asked['max_new_tokens']} tokens, up to the first that ends a text; "
        f"{', '.join([drawn, *limits])}. What is counted is the continuation alone. ± is one "
        "standard error over prompts (jackknife)."
    )
    table, notes = Table(headers, rows), (covered, _METRICS_NOTE)
    return Part("quality", "Quality of written text", table, None, notes, absent, found.quality)


def _has_value(one: Quality, metric: str) -> bool:
    return one.metrics[metric].value is not None


def _reason(found: Generations, metric: str) -> str:
    """Why nobody has a metric, in a model's words where the human text has others."""
    return found.quality[-1].metrics[metric].reason


def _quality_row(one: Quality, names: list[str]) -> tuple[Cell, ...]:
    ended = _NONE if one.num_ended is None else Cell(f"{one.num_ended:,}", kind="number")
    cells = [_value(one.metrics[name]) for name in names]
    return (Cell(one.model), *cells, Cell(f"{one.num_continuations:,}", kind="number"), ended)


def _value(one: Value) -> Cell:
    if one.value is None:
        return Cell("not measured", one.reason, "missing")
    counted = f"{one.value} of {quantity(one.num_continuations, 'text')}"
    reason = f"; {one.reason}" if one.reason else ""
    return Cell(with_error(one.value, one.stderr), counted + reason, "number")


def _differences(found: Generations) -> Part | None:
    if not found.differences:
        return None
    headers: tuple[str, ...] = (
        "model",
        "metric",
        "difference to dense",
        "95% interval",
        "t test p",
        "after Holm",
    )
    headers += ("detectable difference", "prompts")
    table = Table(headers, tuple(_difference_row(one) for one in found.differences))
    reasons = {f"{one.model}, {one.metric}": one.reason for one in found.differences if one.reason}
    absent = " ".join(f"{where}: {reason}." for where, reason in reasons.items())
    title, numbers = "Written text against the dense model's", found.differences
    return Part("differences", title, table, None, (_TEST_NOTE,), absent, numbers)


def _difference_row(one: Difference) -> tuple[Cell, ...]:
    names = Cell(one.model), Cell(_NAMES.get(one.metric, one.metric))
    if one.test is None or one.p_adjusted is None:
        return (*names, Cell("not tested", one.reason, "missing"), *[_NONE] * 5)
    value, low, high = one.test.difference
    return (
        *names,
        Cell(f"{value:+.4f}", str(value), "number"),
        Cell(f"{low:+.4f} to {high:+.4f}", kind="number"),
        Cell(p_value(one.test.p_value), str(one.test.p_value), "number"),
        Cell(p_value(one.p_adjusted), str(one.p_adjusted), "number"),
        Cell(number(one.test.detectable), str(one.test.detectable), "number"),
        Cell(str(one.test.num_pairs), kind="number"),
    )


def _speed(found: Generations) -> Part | None:
    if not found.speed:
        return None
    headers: tuple[str, ...] = (
        "model",
        "first token, ms",
        "quartiles, ms",
        "CPU, ms",
        "latency ratio",
    )
    headers += ("tokens per second after it", "quartiles", "CPU, ms a token", "speed ratio")
    rows = tuple(_speed_row(one) for one in found.speed)
    first = found.speed[0].conditions
    covered = (
        f"One text at a time, likeliest tokens: latency is the time from the call to the first "
        f"token behind {first['prompt_length']} tokens; speed is that of the "
        f"{first['num_decoded']} tokens after it. Medians and quartiles of "
        f"{first['num_timings']} repeats after one that warms up; {_machines(found)}."
    )
    table, notes = Table(headers, rows), (covered, _RATIO_NOTE)
    return Part("speed", "Speed of writing", table, None, notes, "", found.speed)


def _machines(found: Generations) -> str:
    shown = dict.fromkeys(
        f"{one.conditions['dtype']} on {one.conditions['device']}, "
        f"{quantity(one.conditions['num_threads'], 'thread')}"
        for one in found.speed
    )
    return "; ".join(shown)


def _speed_row(one: Speed) -> tuple[Cell, ...]:
    first, rest = one.first_token_seconds, one.decode_seconds_per_token
    return (
        Cell(one.model),
        _number(1000 * first["median"]),
        _range(1000 * first["lower_quartile"], 1000 * first["upper_quartile"]),
        _number(1000 * first["cpu_median"]),
        _ratio(one.latency_ratio),
        _number(1 / rest["median"]),
        _range(1 / rest["upper_quartile"], 1 / rest["lower_quartile"]),
        _number(1000 * rest["cpu_median"]),
        _ratio(one.decode_speed_ratio),
    )


def _number(value: float) -> Cell:
    return Cell(number(value), str(value), "number")


def _range(low: float, high: float) -> Cell:
    return Cell(f"{number(low)} to {number(high)}", kind="number")


def _ratio(value: float | None) -> Cell:
    return _NONE if value is None else Cell(f"{value:.3f}", str(value), "number")


def _examples(found: Generations) -> Part:
    shown = found.examples[:_MAX_EXAMPLES]
    rows = tuple((Cell(prompt), Cell(who), Cell(text)) for prompt, who, text in shown)
    note = (
        f"The first continuation of each of the first prompts; {HUMAN} is how the corpus goes on. "
        "All texts are in continuations.jsonl in the folder of each cell."
    )
    more = len(found.examples) - len(shown)
    notes: tuple[str, ...] = (note, f"{more} more are not shown.") if more else (note,)
    table = Table(("prompt", "written by", "text"), rows)
    return Part("examples", "Examples", table, None, notes, "", found.examples)
