"""Load a checkpoint, and shrink it if it holds heads or neurons only as zeros."""

from sentinel_research.models.agency import describe_agency
from sentinel_research.models.anatomy import ANATOMIES, family_of
from sentinel_research.models.load import Loaded, load_stored, with_agency
from sentinel_research.pruning.baking import baked_plan
from sentinel_research.pruning.surgery import remove
from sentinel_research.specs import ModelSpec


def load(spec: ModelSpec) -> Loaded:
    """Load a checkpoint and its tokenizer.

    A model whose pruning was baked into zeros is recognised and made physically smaller, unless
    `shrink_baked` is off; families without a row in the anatomy table load as they are. Then the
    spec's agency is added, at rest.

    Args:
        spec: With `pretrained`; type, device and attention implementation are honoured.

    Returns:
        Model, tokenizer, and the report of `load_stored`, with `shrunk` (per kind how many units
        were zeros) for a baked model.

    Raises:
        UsageError, CheckpointError: see `load_stored` and `with_agency`.
    """
    loaded = _shrunk(load_stored(spec), spec)
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
