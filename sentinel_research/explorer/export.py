"""A recipe that does to a model what was chosen on the page, for `sentinel run`."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from sentinel_research.explorer.measure import prune_request
from sentinel_research.explorer.subject import Subject
from sentinel_research.pruning import PruningPlan
from sentinel_research.recipe import parse
from sentinel_research.specs import Recipe

_OUTSIDE = re.compile(r"[^a-z0-9_]+")


class _Dumper(yaml.SafeDumper):
    """Lists of plain values on one line, so that a plan can be read."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> Any:  # noqa: ARG002
        """As SafeDumper, in flow style."""
        return super().represent_sequence(tag, sequence, flow_style=True)


def recipe_of(subject: Subject, plan: PruningPlan) -> Recipe:
    """The recipe of a plan.

    Args:
        subject: With model, corpora and measurement.
        plan: Of its model; removes something.

    Raises:
        UsageError: if the recipe makes no sense.
    """
    return parse(Recipe, _content(subject, plan), "the exported recipe")


def file_name(subject: Subject, plan: PruningPlan) -> str:
    """What the file of a plan is called: the same for the same request."""
    recipe = recipe_of(subject, plan)
    return f"{recipe.name}-{recipe.fingerprint()[:8]}.yaml"


def as_yaml(subject: Subject, plan: PruningPlan, seen: Mapping[str, str]) -> str:
    """The file of a plan.

    Args:
        subject: With model, corpora and measurement.
        plan: Of its model; removes something.
        seen: What the page showed, name -> value, for the comment at its head.
    """
    # refuses what `sentinel run` would refuse
    recipe_of(subject, plan)
    name = file_name(subject, plan)
    lines = [
        f"Chosen with `sentinel explore`; run it with: sentinel run {name}",
        *(f"{key}: {value}" for key, value in seen.items()),
        "For five random choices of the same share beside it, add to `prune`:",
        "  scorers: [random]",
        "  seeds: [0, 1, 2, 3, 4]",
    ]
    comment = "\n".join(f"# {line}" for line in lines)
    body = yaml.dump(
        _content(subject, plan), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=98
    )
    return f"{comment}\n{body}"


def _content(subject: Subject, plan: PruningPlan) -> dict[str, Any]:
    base = subject.recipe.model_dump(mode="json", exclude_defaults=True)
    short = _OUTSIDE.sub("-", subject.name.lower()).strip("-_") or "model"
    kept = {key: base[key] for key in ("data", "corpora", "model", "evaluate") if key in base}
    return {
        "name": f"explored-{short}",
        "description": f"Removes units of {subject.name} that a person chose.",
        **{key: kept[key] for key in kept if key != "evaluate"},
        "prune": prune_request(plan),
        "evaluate": kept["evaluate"],
    }
