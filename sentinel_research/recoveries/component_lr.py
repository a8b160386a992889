"""Every component of a model, and every layer, is trained at a learning rate of its own."""

from typing import Any

from pydantic import Field

from sentinel_research.errors import UsageError
from sentinel_research.models.layout import structure_of
from sentinel_research.recoveries.components import Place, places
from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.registry import recovery
from sentinel_research.specs import Spec


class ComponentLrOptions(Spec):
    """Factors of the learning rate by component, and from layer to layer."""

    embeddings: float = Field(default=1.0, ge=0)
    """Token and position embeddings; a head that is tied to them goes with them."""
    attention: float = Field(default=3.0, ge=0)
    """Projections of attention with their biases, and its gates."""
    feed_forward: float = Field(default=1.0, ge=0)
    """Projections of the feed-forward blocks with their biases."""
    norms: float = Field(default=1.0, ge=0)
    """All norms."""
    head: float = Field(default=1.0, ge=0)
    """Output matrix, where it is not tied to the embeddings."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Every layer's rate is this share of the next one's; the embeddings come before the first."""


@recovery(
    "component_lr",
    summary="learning rates by component (attention, feed-forward, norms, ...) and by layer",
    reference="Howard and Ruder 2018, section 3.2, https://arxiv.org/abs/1801.06146",
    options=ComponentLrOptions,
)
def component_lr(inputs: RecoveryInputs, options: ComponentLrOptions) -> Adjustment:
    """Multiply the updates of component `c` at depth `l` by `f_c * layer_decay^(L - 1 - l)`.

    Depth runs over the `L` layers; the embeddings are at -1, the last norm and the head share the
    last layer's. Howard and Ruder's decay is 1 / 2.6. By default attention, which lost heads, is
    trained three times as fast, as in the project whose benchmark this option comes from.

    A head tied to the embeddings is the same parameter: it counts once, and `embeddings` wins. What
    agency adds beside the gates has the factor 1.

    Raises:
        UsageError: for a family without a row in the anatomy table, or a factor of `head` that a
            tied head cannot have.
    """
    own: dict[str, float] = {**options.model_dump(exclude={"layer_decay"}), "other": 1.0}
    found = places(inputs.model)
    num_layers = structure_of(inputs.model.config).num_layers
    is_tied = not any(place.component == "head" for place in found.values())
    if is_tied and "head" in options.model_fields_set and options.head != options.embeddings:
        raise UsageError(
            f"`component_lr.head` is {options.head:g} and `embeddings` {options.embeddings:g}, and "
            "this model's head is tied to its embeddings: it is one parameter",
            "leave `head` out: `embeddings` is for both",
        )

    def factor(place: Place) -> float:
        return own[place.component] * options.layer_decay ** (num_layers - 1 - place.depth)

    report: dict[str, Any] = {
        component: {
            "factor": own[component],
            "num_parameters": sum(
                inputs.model.get_parameter(name).numel()
                for name, place in found.items()
                if place.component == component
            ),
        }
        for component in own
    }
    report["head"]["is_tied"] = is_tied
    return Adjustment(
        factors={name: factor(place) for name, place in found.items()},
        report=lambda: {"component_lr": {"components": report, "layer_decay": options.layer_decay}},
    )
