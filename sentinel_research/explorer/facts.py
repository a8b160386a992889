"""What the page is told, as JSON types."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from transformers import PreTrainedModel

from sentinel_research.data.corpora import FITTED_SPLIT, load_corpus
from sentinel_research.data.provenance import provenance_of
from sentinel_research.explorer.effects import Effects, Prediction
from sentinel_research.explorer.measure import Size
from sentinel_research.explorer.scorebook import KINDS, ORACLE, scorers_of
from sentinel_research.explorer.subject import Subject
from sentinel_research.explorer.writing import first_prompt
from sentinel_research.models.anatomy import context_length
from sentinel_research.models.stored_linear import num_parameters
from sentinel_research.pruning import PruningPlan
from sentinel_research.pruning.report import forward_flops_per_token, probe_length
from sentinel_research.registry import get


def as_json(found: Any) -> dict[str, Any]:
    """A measured or predicted value by field, with the sum of a prediction."""
    total = {"total": found.total} if isinstance(found, Prediction) else {}
    return {**found._asdict(), **total}


def describe(subject: Subject, effects: Effects) -> dict[str, Any]:
    """What never changes about a session."""
    structure, draw = subject.structure, subject.calibration_spec
    kinds = [kind for kind in KINDS if sum(structure.num_units(kind))]  # type: ignore[arg-type]
    return {
        "name": subject.name,
        "family": structure.family,
        "synthetic_data": subject.synthetic_data,
        "layers": [
            {
                "heads": list(layer.heads),
                "num_neurons": len(layer.neurons),
                "neurons": _compact(layer.neurons),
                "has_attention": layer.has_attention,
                "has_ffn": layer.has_ffn,
            }
            for layer in structure.layers
        ],
        "num_heads": structure.num_heads,
        "group_size": structure.group_size,
        "kinds": kinds,
        "scorers": {kind: scorers_of(kind) for kind in kinds},
        "summaries": {
            name: get("scorers", name).summary for kind in kinds for name in scorers_of(kind)
        },
        "oracle": ORACLE if effects.is_measured else "fisher",
        "is_measured": effects.is_measured,
        "loss": effects.loss,
        "text": {
            "source": draw.corpus or draw.task,
            "num_sequences": len(subject.calibration),
            "sequence_length": int(subject.calibration.ids.shape[1]),
            "provenance": _origin(draw.corpus),
        },
        "tasks": list(subject.recipe.evaluate.tasks),
        "limit": subject.recipe.evaluate.limit,
        "plans": [
            {"name": name, "units": list(units)} for name, units in subject.plans.items() if units
        ],
        "prompt": first_prompt(
            draw.corpus, subject.tokenizer, context_length(subject.model.config)
        ),
    }


def _compact(neurons: tuple[int, ...]) -> list[int] | None:
    """Original indices; None where none is missing."""
    return None if neurons == tuple(range(len(neurons))) else list(neurons)


def _origin(corpus: str | None) -> dict[str, Any] | None:
    if corpus is None:
        return None
    return asdict(provenance_of(load_corpus(corpus, FITTED_SPLIT)))


def size_of(model: PreTrainedModel) -> Size:
    """Parameters and operations of the whole model."""
    length = probe_length(model)
    return Size(num_parameters(model), forward_flops_per_token(model, length), length)


def expected_size(plan: PruningPlan, whole: Size) -> Size:
    """What is left by arithmetic, before anything is removed."""
    return Size(
        whole.parameters - plan.parameters_removed,
        whole.flops_per_token - plan.flops_removed(whole.flops_tokens),
        whole.flops_tokens,
    )


def seen(state: Mapping[str, Any], subject: Subject) -> dict[str, str]:
    """What the page showed of a choice when it was exported, for people."""
    found = {
        "Predicted on the calibration text": f"{state['predicted']['total']:+.4f} nats per token"
    }
    loss, quality = state["measured"].get("loss"), state["measured"].get("quality")
    if loss is not None:
        found["Measured on it"] = f"{loss['gained']:+.4f} +- {loss['error']:.4f} nats per token"
    if quality is not None:
        error = "" if quality["error"] is None else f" +- {quality['error']:.4g}"
        found[f"{subject.task}, {quality['metric']}"] = f"{quality['value']:.6g}{error}"
    if subject.synthetic_data:
        found["Data"] = "synthetic"
    return found
