"""Load a checkpoint, and shrink it if it holds heads or neurons only as zeros."""

from sentinel_research.models.agency import describe_agency
from sentinel_research.models.anatomy import ANATOMIES, family_of
from sentinel_research.models.load import Loaded, load_stored, with_agency
from sentinel_research.models.stored_linear import held_bytes
from sentinel_research.pruning.baking import baked_plan
from sentinel_research.pruning.surgery import remove
from sentinel_research.quantisation import quantise_in_place, store_small
from sentinel_research.specs import ModelSpec


def load(spec: ModelSpec, *, stores: bool = True) -> Loaded:
    """Load a checkpoint and its tokenizer.

    A model whose pruning was baked into zeros is recognised and made physically smaller, unless
    `shrink_baked` is off; families without a row in the anatomy table load as they are. Then the
    spec's agency is added, at rest, and weights are rounded or stored in a few bits if it asks for
    that.

    Args:
        spec: With `pretrained`; type, device and attention implementation are honoured.
        stores: False leaves a model in float32 that `bits` stores in fewer, to prune it first.

    Returns:
        Model, tokenizer, and the report of `load_stored`, with `shrunk` (per kind how many units
        were zeros) for a baked model, `quantised` (a `QuantiseReport`) for a rounded one, and
        `precision` (a `StoreReport`) for one stored in a few bits.

    Raises:
        UsageError, CheckpointError: see `load_stored`, `with_agency` and `store_small`.
    """
    loaded = _with_agency(_shrunk(load_stored(spec), spec), spec)
    if spec.store is not None and stores:
        stored = store_small(loaded.model, spec.store)
        held = {"weight_bytes": stored.weight_bytes, "precision": stored.model_dump(mode="json")}
        return loaded._replace(report={**loaded.report, **held})
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
        "weight_bytes": held_bytes(model),
        **describe_agency(model),
    }
    return Loaded(model, loaded.tokenizer, report)


def _shrunk(loaded: Loaded, spec: ModelSpec) -> Loaded:
    """Without the heads and neurons that are zeros."""
    family = family_of(loaded.model.config)
    is_quantised = getattr(loaded.model.config, "quantization_config", None) is not None
    # what is spread out stays as it is stored
    is_whole = spec.device_map is None
    if not spec.shrink_baked or not is_whole or family not in ANATOMIES or is_quantised:
        return loaded
    plan = baked_plan(loaded.model)
    if plan.is_identity:
        return loaded
    model = remove(loaded.model, plan)
    report = {
        **loaded.report,
        "model_type": model.config.model_type,
        "num_parameters": model.num_parameters(),
        "weight_bytes": held_bytes(model),
        "shrunk": plan.num_removed,
    }
    return Loaded(model, loaded.tokenizer, report)
