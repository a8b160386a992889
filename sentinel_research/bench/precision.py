"""Models whose weights are held in fewer bits, beside the same model in float32.

The model of GPT-2 small's shape has random weights; a small trained one is measured too where
`SENTINEL_MODELS` has it, as small matrices gain less. Memory is that of fresh processes which load
what was saved, read the prompt and decode.
"""

import copy
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from sentinel_research.bench.models import SCALES, Scale, describe, gpt2
from sentinel_research.bench.precision_memory import Held, held_in_fresh_processes
from sentinel_research.bench.schema import PrecisionModel, PrecisionSection
from sentinel_research.bench.schema_base import Size
from sentinel_research.cost.phases import decode, prefill
from sentinel_research.machine import Watch, wait_for
from sentinel_research.models import find_folder, held_bytes, load_stored
from sentinel_research.models.checkpoint import MODELS_VARIABLE
from sentinel_research.models.precision import is_emulated
from sentinel_research.quantisation import store_small
from sentinel_research.specs import ModelSpec, StoreSpec
from sentinel_research.timing import Action, Comparison, compare, measure

REAL_MODEL = "shakespeare-char-gpt2-8l"
FLOAT32 = "float32"
ALTERNATIVE = "the model in float32"
WAYS: dict[str, StoreSpec] = {
    "bits16": StoreSpec(bits=16),
    "bits8": StoreSpec(bits=8),
    "bits8_float_activations": StoreSpec(bits=8, activations="float"),
    "bits4": StoreSpec(bits=4),
}
_BFLOAT16 = "bfloat16"


class Variant(NamedTuple):
    """A model that is timed."""

    model: PreTrainedModel
    """In evaluation mode."""
    words: str
    """What computes its projections."""


def variants(dense: PreTrainedModel) -> dict[str, Variant]:
    """The float32 model, its copies in fewer bits, and one that is bfloat16 throughout."""
    found = {FLOAT32: Variant(dense, "float32 throughout")}
    for name, spec in WAYS.items():
        model = copy.deepcopy(dense)
        found[name] = Variant(model, store_small(model, spec).kernel)
    half = copy.deepcopy(dense)
    for parameter in half.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    half.config.dtype = torch.bfloat16
    how = "emulated" if is_emulated(torch.bfloat16, half.device) else "by the device's own products"
    found[_BFLOAT16] = Variant(half, f"bfloat16 throughout, {how}")
    return found


def bench_precision(size: Size, device: str, num_pairs: int) -> PrecisionSection:
    """Time all precisions in turns, reading a prompt and decoding after it."""
    scale = SCALES[size]
    watch = Watch(device, torch.float32)
    comparisons: list[Comparison] = []
    models: list[PrecisionModel] = []
    not_measured: dict[str, str] = {}
    described = None
    for prefix, dense in _models(size, device, not_measured):
        described = described or describe(dense)
        found = variants(dense)
        for mode, actions in _actions(found, scale):
            samples = measure(actions, num_pairs, partial(wait_for, device))
            comparisons += [
                compare(
                    f"{prefix}/{mode}/{name}",
                    (one.words, samples[name]),
                    (ALTERNATIVE, samples[FLOAT32]),
                )
                for name, one in found.items()
                if name != FLOAT32
            ]
        held = _memory(found, device, scale)
        models += [_facts(f"{prefix}/{name}", one, held[name]) for name, one in found.items()]
        # the next model needs the memory
        del found, actions, dense
    assert described is not None  # the random model is always there
    return PrecisionSection(
        conditions=watch.conditions(),
        model=described,
        comparisons=tuple(comparisons),
        prefill_length=scale.prefill_length,
        decode_steps=scale.decode_steps,
        models=tuple(models),
        not_measured=not_measured,
    )


def _models(
    size: Size, device: str, not_measured: dict[str, str]
) -> Iterator[tuple[str, PreTrainedModel]]:
    yield size, gpt2(size, device)
    if not (Path(os.environ.get(MODELS_VARIABLE, "")) / REAL_MODEL / "config.json").is_file():
        not_measured[REAL_MODEL] = f"{MODELS_VARIABLE} names no folder that has it"
        return
    spec = ModelSpec(pretrained=str(find_folder(REAL_MODEL)), device=device, dtype="float32")
    yield REAL_MODEL, load_stored(spec).model


def _actions(found: Mapping[str, Variant], scale: Scale) -> Iterator[tuple[str, dict[str, Action]]]:
    dense = found[FLOAT32].model
    generator = torch.Generator().manual_seed(0)
    # a character model reads fewer tokens than GPT-2
    length = min(scale.prefill_length, dense.config.n_positions - scale.decode_steps)
    ids = torch.randint(dense.config.vocab_size, (1, length), generator=generator)
    ids = ids.to(dense.device)
    yield "prefill", {name: prefill(ids, one.model, 1) for name, one in found.items()}
    yield (
        "decode",
        {name: decode(ids, one.model, scale.decode_steps) for name, one in found.items()},
    )


def _memory(found: Mapping[str, Variant], device: str, scale: Scale) -> dict[str, Held]:
    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in found}
        for name, one in found.items():
            one.model.save_pretrained(places[name])
        held = held_in_fresh_processes(list(places.values()), device, scale.prefill_length)
        return dict(zip(places, held, strict=True))


def _facts(name: str, one: Variant, held: Held) -> PrecisionModel:
    return PrecisionModel(
        name=name,
        kernel=one.words,
        weight_bytes=held_bytes(one.model),
        file_bytes=held.file_bytes,
        loaded_bytes=held.loaded_bytes,
        peak_bytes=held.peak_bytes,
    )
