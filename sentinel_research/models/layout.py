"""Read from a configuration what a model consists of, and where each part lies in its weights.

Glossary: "original" indices are those of the dense model that a model was pruned from; "local"
indices count the units that are still there. `D` is the width of a head.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PretrainedConfig

from sentinel_research.errors import CheckpointError
from sentinel_research.models.anatomy import PRUNED_PREFIX, anatomy_of, family_of
from sentinel_research.models.anatomy_schema import Anatomy, Flag, Projection
from sentinel_research.structure import LayerParts, Structure, dense_layer


def structure_of(config: PretrainedConfig) -> Structure:
    """Read from a configuration which heads, neurons and blocks the model has.

    Args:
        config: Of a dense or a pruned model of a known family.

    Returns:
        Its structure; a pruned model's carries the original indices that its configuration names.

    Raises:
        UsageError: if the family is unknown.
        CheckpointError: if a pruned model's configuration names no parts, or impossible ones.
    """
    row = anatomy_of(config)
    num_heads, num_layers = config.num_attention_heads, config.num_hidden_layers
    neurons = getattr(config, row.intermediate_key) if row.intermediate_key else None
    neurons = neurons or 4 * config.hidden_size
    dense = dense_layer(num_heads, neurons)
    biases = bool(getattr(config, "output_biases", False))
    try:
        return Structure(
            family=row.family,
            num_heads=num_heads,
            num_kv_heads=(
                getattr(config, row.num_kv_heads_key) if row.num_kv_heads_key else num_heads
            ),
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // num_heads,
            hidden_size=config.hidden_size,
            intermediate_size=neurons,
            num_ffn_inputs=len(row.ffn_inputs),  # type: ignore[arg-type]
            attention_input_bias=_flag(config, row.attention_input_bias),
            attention_output_bias=biases or _flag(config, row.attention_output_bias),
            ffn_input_bias=_flag(config, row.ffn_bias),
            ffn_output_bias=biases or _flag(config, row.ffn_bias),
            norm_parameters=_norm_parameters(config, row),
            gate_parameters=_gate_parameters(config),
            layers=_pruned_layers(config, dense) or (dense,) * num_layers,
        )
    except ValueError as error:
        reason = str(error.errors()[0]["msg"] if hasattr(error, "errors") else error)
        raise CheckpointError(
            f"configuration of type '{config.model_type}' describes no possible model: "
            f"{reason.removeprefix('Value error, ')}",
            "Unit indices must be ascending, unique and in range.",
        ) from error


def _flag(config: PretrainedConfig, flag: Flag) -> bool:
    return flag if isinstance(flag, bool) else bool(getattr(config, flag))


def norm_stays(config: PretrainedConfig) -> bool:
    """True if a removed block leaves its norm behind, because the residual stream runs through."""
    stays = anatomy_of(config).norm_stays
    return stays is not None and getattr(config, stays[0]) == stays[1]


def attention_windows(config: PretrainedConfig) -> list[int | None]:
    """How many keys a row sees at most, its own included, per layer; None if all before it."""
    row, count = anatomy_of(config), config.num_hidden_layers
    window = getattr(config, row.window_key) if row.window_key else None
    if row.layer_types_key is None:
        return [window] * count
    kinds = getattr(config, row.layer_types_key)
    return [window if kind == "sliding_attention" else None for kind in kinds]


def _norm_parameters(config: PretrainedConfig, row: Anatomy) -> int:
    if norm_stays(config) or not _flag(config, row.norm_affine):
        return 0
    return row.norm_vectors * config.hidden_size


def _gate_parameters(config: PretrainedConfig) -> int:
    """Parameters of one head's gate, see `models.agency.gate`."""
    mode = (getattr(config, "agency", None) or {}).get("gate")
    if mode is None:
        return 0
    return 1 + config.hidden_size * (mode == "input")


def is_pruned(config: PretrainedConfig) -> bool:
    """True if a configuration says which parts of its family's dense model are left."""
    return config.model_type != family_of(config) and config.is_heterogeneous


def _pruned_layers(config: PretrainedConfig, dense: LayerParts) -> tuple[LayerParts, ...] | None:
    if not is_pruned(config):
        if not config.model_type.startswith(PRUNED_PREFIX):
            return None
        raise CheckpointError(
            f"configuration of type '{config.model_type}' names no heads",
            "It needs `kept_heads` for every layer under `per_layer_config`.",
        )
    layers = []
    for layer in config.per_layer_config:
        skipped = getattr(layer, "skip", None) or []
        neurons = getattr(layer, "kept_neurons", None)
        has_ffn = "ffn" not in skipped
        layers.append(
            LayerParts(
                heads=tuple(layer.kept_heads),
                neurons=tuple(neurons if neurons is not None else dense.neurons if has_ffn else ()),
                has_attention="attention" not in skipped,
                has_ffn=has_ffn,
            )
        )
    return tuple(layers)


def per_layer_config(structure: Structure) -> dict[str, dict[str, list[int] | list[str]]]:
    """The kept parts of every layer, as transformers' `per_layer_config` holds them.

    `kept_heads` is always there. `kept_neurons` and `skip` (blocks that are gone) appear in every
    layer if any layer needs them, because transformers wants the same keys everywhere.
    """
    full = tuple(range(structure.intermediate_size))
    found: dict[str, dict[str, list[int] | list[str]]] = {
        str(index): {"kept_heads": list(layer.heads)}
        for index, layer in enumerate(structure.layers)
    }
    if any(layer.neurons != full for layer in structure.layers):
        for index, layer in enumerate(structure.layers):
            found[str(index)]["kept_neurons"] = list(layer.neurons)
    if not all(layer.has_attention and layer.has_ffn for layer in structure.layers):
        for index, layer in enumerate(structure.layers):
            blocks = (("attention", layer.has_attention), ("ffn", layer.has_ffn))
            found[str(index)]["skip"] = [name for name, present in blocks if not present]
    return found


def projection_paths(row: Anatomy, structure: Structure, layer: int) -> list[str]:
    """Paths of the projections that a layer still has: attention's inputs, output, then FFN's."""
    parts, paths = structure.layers[layer], []
    if parts.heads:
        paths += [*row.input_paths(layer, "attention"), row.output_path(layer, "attention")]
    if parts.neurons:
        paths += [*row.input_paths(layer, "ffn"), row.output_path(layer, "ffn")]
    return paths


def projection_rows(
    structure: Structure,
    layer: int,
    projection: Projection,
    queries: Sequence[int],
    kvs: Sequence[int],
) -> Int[Tensor, " rows"]:
    """Where heads lie along the output of an input projection of attention.

    Args:
        structure: Of the model as it is now.
        layer: Layer index.
        projection: One of the family's input projections.
        queries: Local indices of query heads, in the order wanted.
        kvs: Local indices of key/value heads, in the order wanted.

    Returns:
        Row indices into the projection as it is now.
    """
    width = torch.arange(structure.head_dim)
    parts = projection.parts
    if projection.interleaved:
        # [head, part, D]: all parts of one head lie together, and there are no groups
        starts = [
            (head * len(parts) + p) * len(width) for head in queries for p in range(len(parts))
        ]
    else:
        starts, offset = [], 0
        for part in parts:
            picked = queries if part == "query" else kvs
            starts += [offset + head * len(width) for head in picked]
            count = structure.num_units("head")[layer] if part == "query" else len(
                structure.kv_heads(layer)
            )  # fmt: skip
            offset += count * len(width)
    return (torch.tensor(starts, dtype=torch.long)[:, None] + width).flatten()


def head_columns(structure: Structure, queries: Sequence[int]) -> Int[Tensor, " columns"]:
    """Where query heads (local indices) lie along the input of the output projection."""
    width = torch.arange(structure.head_dim)
    starts = torch.tensor(list(queries), dtype=torch.long) * len(width)
    return (starts[:, None] + width).flatten()
