"""Load a model and its tokenizer, or say exactly why not."""

from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from sentinel_research.data.byte_level import BYTES, byte_tokenizer
from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.models.agency import add_agency, describe_agency
from sentinel_research.models.checkpoint import (
    check_checkpoint,
    find_folder,
    hash_files,
    read_json,
)
from sentinel_research.models.fingerprint import config_fingerprint
from sentinel_research.models.kernels import kernels_of
from sentinel_research.models.layout import is_pruned, structure_of
from sentinel_research.models.mamba import use_scan
from sentinel_research.models.placement import check_placed, check_placement, places, placing
from sentinel_research.models.precision import check_bfloat16, is_emulated
from sentinel_research.models.stored_linear import held_bytes, num_parameters
from sentinel_research.specs import AgencySpec, ModelSpec

_NUM_KEYS_SHOWN = 4
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer_config.json",
)
_PLAIN_TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizerFast")


class Loaded(NamedTuple):
    """What `load_stored` returns."""

    model: PreTrainedModel
    """The model in evaluation mode, on its device."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokenizer."""
    report: dict[str, Any]
    """For the run record, JSON types only."""


def load_stored(spec: ModelSpec) -> Loaded:
    """Load a checkpoint and its tokenizer, as they are stored.

    Args:
        spec: With `pretrained`; type, device and attention implementation are honoured.

    Returns:
        Model, tokenizer, and a report: `pretrained`, `model_type`, `num_parameters`,
        `weight_bytes` (what is held), `vocab_size`, `dtype`, `device`, `attn_implementation`,
        `kernels`, `weights_sha256` and `tokenizer_sha256` per file, `config_sha256`, and for a
        pruned checkpoint `kept_heads` and `pruning`, for a gated one `agency`, for one that is
        spread over devices `places` (parts by place), for one that is
        stored in a few bits `stored`, for a type that the processor lacks `emulated`.

    Raises:
        UsageError: if the spec names an architecture instead, an absent device, or a type that
            the device lacks; or `bits` of a checkpoint that is stored in a few already.
        CheckpointError: if the checkpoint is missing, damaged, or its weights do not match its
            configuration. No weight is ever left at random values.
    """
    if spec.pretrained is None:
        named = (
            f"architecture '{spec.architecture}'" if spec.architecture else "a model without name"
        )
        raise UsageError(f"{named} has no weights to load", "Train it first, or give `pretrained`.")
    _device(spec.device)
    files = check_checkpoint(spec.pretrained, spec.revision)
    model = load_weights(files[0].parent, spec)
    tokenizer = load_tokenizer(spec)
    _check_vocabulary(tokenizer, model)
    report: dict[str, Any] = {
        "pretrained": spec.pretrained,
        "model_type": model.config.model_type,
        "num_parameters": num_parameters(model),
        "weight_bytes": held_bytes(model),
        "vocab_size": model.config.get_text_config().vocab_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "attn_implementation": model.config._attn_implementation,
        "kernels": kernels_of(model),
        "weights_sha256": hash_files(files),
        "tokenizer_sha256": hash_files(_tokenizer_files(spec)),
        "config_sha256": config_fingerprint(model.config),
    }
    if (spread := places(model)) is not None:
        report["places"] = spread
    if is_emulated(model.dtype, model.device):
        report["emulated"] = f"{model.dtype} on a processor that has no instructions for it"
    if is_pruned(model.config):
        layers = structure_of(model.config).layers
        report["kept_heads"] = [list(layer.heads) for layer in layers]
        report["num_neurons"] = [len(layer.neurons) for layer in layers]
        report["pruning"] = model.config.pruning
    if (stored := getattr(model.config, "quantization_config", None)) is not None:
        report["stored"] = stored if isinstance(stored, dict) else stored.to_dict()
    return Loaded(model, tokenizer, {**report, **describe_agency(model)})


def load_weights(folder: Path, spec: ModelSpec) -> PreTrainedModel:
    """Load a model without its tokenizer.

    Args:
        folder: Of the checkpoint.
        spec: Its type, device and attention implementation are honoured.

    Returns:
        The model in evaluation mode, on its device.

    Raises:
        UsageError: for an absent device, a precision that it lacks, or bits of a model that is
            stored in few bits already.
        CheckpointError: if the weights do not match their configuration.
    """
    device = _device(spec.device)
    if spec.store is not None:
        check_bfloat16(device, f"bits={spec.bits}")
    if spec.dtype == "bfloat16":
        check_bfloat16(device, "dtype=bfloat16")
    _refuse_stored(folder, spec)
    check_placement(spec, read_json(folder / "config.json"))
    model = _load_model(folder, spec)
    if spec.device_map is None:
        nn.Module.to(model, device=device)
    else:
        check_placed(model)
    model.eval()
    use_scan(model)
    return model


def _refuse_stored(folder: Path, spec: ModelSpec) -> None:
    stored = read_json(folder / "config.json").get("quantization_config")
    if stored is None or spec.bits is None:
        return
    bits = f" in {stored['bits']} bits" if isinstance(stored, dict) and "bits" in stored else ""
    raise UsageError(
        f"bits={spec.bits} was asked for of {folder}, whose weights are stored quantised{bits} "
        "already",
        "leave `bits` out to measure it as it is, or name the model that it was made from",
    )


def with_agency(model: PreTrainedModel, spec: ModelSpec) -> PreTrainedModel:
    """The model with the agency that a spec asks for, at rest; itself if it asks for none.

    Args:
        model: Loaded or built by that spec.
        spec: With the baseline's checkpoint, if there is one.

    Raises:
        UsageError: see `add_agency`.
        CheckpointError: if the baseline cannot be loaded.
    """
    if spec.agency is None:
        return model
    baseline = load_baseline(spec.agency, trust_remote_code=spec.trust_remote_code)
    return add_agency(model, spec.agency, baseline=baseline)


def load_baseline(spec: AgencySpec, *, trust_remote_code: bool = False) -> PreTrainedModel | None:
    """The model that runs frozen beside one with agency; None if the spec names none.

    Args:
        spec: With the name of a checkpoint, or without.
        trust_remote_code: Run Python code that comes with it.

    Raises:
        CheckpointError: if it cannot be loaded.
    """
    if spec.baseline is None:
        return None
    beside = ModelSpec(pretrained=spec.baseline, trust_remote_code=trust_remote_code)
    return _load_model(check_checkpoint(spec.baseline)[0].parent, beside)


def load_tokenizer(spec: ModelSpec) -> PreTrainedTokenizerBase:
    """Load the tokenizer that a spec names, by default the checkpoint's own.

    Args:
        spec: With `tokenizer` or `pretrained`.

    Raises:
        UsageError: if the spec names neither.
        CheckpointError: if there is no such tokenizer, or it cannot be read.
    """
    name = spec.tokenizer or spec.pretrained
    if name is None:
        raise UsageError(
            f"architecture '{spec.architecture}' names no tokenizer", "Give `tokenizer`."
        )
    if spec.tokenizer == BYTES:
        return byte_tokenizer()
    revision = spec.revision if name == spec.pretrained else "main"
    folder = find_folder(name, revision)
    hint = "Give `tokenizer` if it lives elsewhere."
    # without these files transformers makes an empty tokenizer up for some families
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise CheckpointError(f"{folder} holds no tokenizer", hint)
    # for some families (Qwen2) AutoTokenizer takes the family's class, with tokens of its own, even
    # where the folder says that its tokenizer is a plain `tokenizer.json`
    loader: Any = PreTrainedTokenizerFast if _is_plain(folder) else AutoTokenizer
    try:
        return loader.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"cannot load a tokenizer from {folder}: {_first_line(error)}", hint
        ) from error


def _tokenizer_files(spec: ModelSpec) -> list[Path]:
    """The files that `load_tokenizer` reads; none for bytes, which are the package's own."""
    if spec.tokenizer == BYTES:
        return []
    name = spec.tokenizer or str(spec.pretrained)
    folder = find_folder(name, spec.revision if name == spec.pretrained else "main")
    return [path for name in _TOKENIZER_FILES if (path := folder / name).is_file()]


def _is_plain(folder: Path) -> bool:
    """True if the folder's tokenizer is nothing but its `tokenizer.json`."""
    path = folder / "tokenizer_config.json"
    if not path.is_file() or not (folder / "tokenizer.json").is_file():
        return False
    return read_json(path).get("tokenizer_class") in _PLAIN_TOKENIZERS


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    num_tokens = len(model.get_input_embeddings().get_parameter("weight"))
    if len(tokenizer) > num_tokens:
        raise CheckpointError(
            f"the tokenizer has {len(tokenizer):,} tokens, the model only {num_tokens:,}",
            "The tokenizer belongs to another model.",
        )


def place(model: PreTrainedModel, device: str) -> None:
    """Move a model to a device, in place.

    Args:
        model: Any model.
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: if there is no such device.
    """
    nn.Module.to(model, device=_device(device))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device '{name}'", "Use cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device '{name}' is not there: {torch.cuda.device_count()} CUDA devices are visible",
            "Use cpu, or check CUDA_VISIBLE_DEVICES.",
        )
    return device


def _load_model(folder: Path, spec: ModelSpec) -> PreTrainedModel:
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            use_safetensors=True,
            # with bits the model is pruned in float32, and stored afterwards
            dtype=spec.dtype if spec.bits is None else "float32",
            attn_implementation=_attention(spec),
            **placing(spec),
            trust_remote_code=spec.trust_remote_code,
            # mismatches are reported below, together with the other kinds of disagreement
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (StrictDataclassError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"cannot load a causal language model from {folder}: {_first_line(error)}",
            "If it comes with its own code that you trust, set trust_remote_code."
            if spec.device_map is None
            else "`device_map` may not fit it: name a place for every part once, with the "
            "embeddings in memory, or take auto.",
        ) from error
    model, info = loaded
    _refuse_mismatch(folder, info)
    return cast("PreTrainedModel", model)


def _attention(spec: ModelSpec) -> str | None:
    """What to ask transformers for; None leaves it the family's best."""
    return None if spec.attn_implementation == "auto" else spec.attn_implementation


def _refuse_mismatch(folder: Path, info: dict[str, Any]) -> None:
    found = {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(info["unexpected_keys"]),
        "of another shape": sorted(str(key[0]) for key in info["mismatched_keys"]),
        "unreadable": sorted(map(str, info["error_msgs"])),
    }
    parts = [
        f"{len(keys)} {kind} ({', '.join(keys[:_NUM_KEYS_SHOWN])}"
        f"{', ...' if len(keys) > _NUM_KEYS_SHOWN else ''})"
        for kind, keys in found.items()
        if keys
    ]
    if parts:
        raise CheckpointError(
            f"the weights in {folder} do not match its config.json: {'; '.join(parts)}",
            "Weights and configuration come from different models, or one of them was edited.",
        )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
