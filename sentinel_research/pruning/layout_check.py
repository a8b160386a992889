"""Refuse a model whose weights are not laid out as its family's, before anything is sliced.

Shapes show some wrong layouts. Others (fused projections in another order) are legal in shape;
those are caught afterwards by comparing with the masked twin (`surgery.check_agreement`).
"""

import itertools
from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.layout import structure_of


def check_layout(model: PreTrainedModel) -> None:
    """Check that every projection is an ordinary one of the shape that its family says.

    Args:
        model: Dense or pruned model of a known family.

    Raises:
        UsageError: if weights are quantised, projections are of another class (adapters, quantised
            layers), a shape is not the expected one, or a tensor is not in memory.
    """
    if getattr(model.config, "quantization_config", None) is not None:
        raise UsageError(
            "this model's weights are quantised, and their rows cannot be taken apart",
            "Prune the model before quantising it.",
        )
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_meta:
            raise UsageError(
                f"{name} is not in memory: it was offloaded to disk, or never loaded",
                "Load the whole model on one device, without device_map.",
            )
    for path, expected in _expected_shapes(model):
        module = model.get_submodule(path)
        kind = type(module)
        if kind not in (nn.Linear, Conv1D):
            raise UsageError(
                f"{path} is a {kind.__module__}.{kind.__name__}, not an ordinary projection",
                "Prune before quantising, and merge adapters first.",
            )
        weight = module.get_parameter("weight")
        if not weight.is_floating_point():
            raise UsageError(
                f"{path} holds {weight.dtype} weights, which are quantised",
                "Prune the model before quantising it.",
            )
        if tuple(weight.shape) != expected:
            raise UsageError(
                f"{path} has shape {list(weight.shape)}, a {model.config.model_type} model of this "
                f"configuration has {list(expected)}",
                "This model lays out its weights in another way than its family; it cannot be "
                "pruned before sentinel_research/models/anatomy.py describes it.",
            )


def _expected_shapes(model: PreTrainedModel) -> Iterator[tuple[str, tuple[int, int]]]:
    """Path and stored weight shape of every projection that a layer still has."""
    row, structure = anatomy_of(model.config), structure_of(model.config)
    hidden = structure.hidden_size
    for layer, parts in enumerate(structure.layers):
        width = len(parts.heads) * structure.head_dim
        kv_width = len(structure.kv_heads(layer)) * structure.head_dim
        wide: list[tuple[str, int, int]] = []
        if parts.heads:
            for projection, path in zip(
                row.inputs, row.input_paths(layer, "attention"), strict=True
            ):
                rows = sum(width if part == "query" else kv_width for part in projection.parts)
                wide.append((path, rows, hidden))
            wide.append((row.output_path(layer, "attention"), hidden, width))
        if parts.neurons:
            count = len(parts.neurons)
            wide += [(path, count, hidden) for path in row.input_paths(layer, "ffn")]
            wide.append((row.output_path(layer, "ffn"), hidden, count))
        for path, out, into in wide:
            yield path, (out, into) if row.weight == "linear" else (into, out)
