"""Load a checkpoint, and shrink it if it holds heads or neurons only as zeros."""

from sentinel_research.models.agency import describe_agency
from sentinel_research.models.anatomy import ANATOMIES, family_of
from sentinel_research.models.load import Loaded, load_stored, with_agency
from sentinel_research.pruning.baking import baked_plan
from sentinel_research.pruning.surgery import remove
from sentinel_research.quantisation import quantise_in_place
from sentinel_research.specs import ModelSpec


def load(spec: ModelSpec) -> Loaded:
    """Load a checkpoint and its tokenizer.

    A model whose pruning was baked into zeros is recognised and made physically smaller, unless
    `shrink_baked` is off; families without a row in the anatomy table load as they are. Then the
    spec's agency is added, at rest, and weights are rounded if it asks for that.

    Args:
        spec: With `pretrained`; type, device and attention implementation are honoured.

    Returns:
        Model, tokenizer, and the report of `load_stored`, with `shrunk` (per kind how many units
        were zeros) for a baked model, and `quantised` (a `QuantiseReport`) for a rounded one.

    Raises:
        UsageError, CheckpointError: see `load_stored` and `with_agency`.
    """
    loaded = _with_agency(_shrunk(load_stored(spec), spec), spec)
    if spec.quantise is None:
        return loaded
    done = quantise_in_place(loaded.model, spec.quantise)
    return loaded._replace(report={**loaded.report, "quantised": done.model_dump(mode="json")})


def _with_agency(loaded: Loaded, spec: ModelSpec) -> Loaded:
    if spec.agency is None:
        return loaded
    model = with_agency(loaded.model, spec)
    report = {
        **loaded.report,
        "model_type": model.config.model_type,
        "num_parameters": model.num_parameters(),
        **describe_agency(model),
    }
    return Loaded(model, loaded.tokenizer, report)


def _shrunk(loaded: Loaded, spec: ModelSpec) -> Loaded:
    """Without the heads and neurons that are zeros."""
    family = family_of(loaded.model.config)
    is_quantised = getattr(loaded.model.config, "quantization_config", None) is not None
    if not spec.shrink_baked or family not in ANATOMIES or is_quantised:
        return loaded
    plan = baked_plan(loaded.model)
    if plan.is_identity:
        return loaded
    model = remove(loaded.model, plan)
    report = {
        **loaded.report,
        "model_type": model.config.model_type,
        "num_parameters": model.num_parameters(),
        "shrunk": plan.num_removed,
    }
    return Loaded(model, loaded.tokenizer, report)
