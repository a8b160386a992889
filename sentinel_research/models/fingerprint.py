"""What identifies a model by what it computes: two with one fingerprint give the same answers.

Read are the bits of all parameters and buffers, the configuration with its plan and agency, the
plain attributes of every module (mode, scale, kernel), the hooks with the masks they hold, the code
of the classes, the device's type and the versions of the libraries. Not read is where the model
came from: the same weights in another folder have the same fingerprint. What cannot be read is
refused: a fingerprint that leaves something out would be worse than none.
"""

import functools
import hashlib
import importlib.metadata
import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research.errors import UsageError
from sentinel_research.models.kernels import kernels_of
from sentinel_research.models.stored_linear import StoredLinear

_PACKAGE = Path(__file__).resolve().parent.parent
# what a forward pass and its scores come from
_OWN_CODE = ("evaluation", "models", "ops", "pruning", "quantisation")
_OWN = __name__.split(".")[0]
_LIBRARIES = ("torch", "transformers", "tokenizers", "lm-eval")
_PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device)
# where a model or a tokenizer was found says nothing about what it computes
_ORIGIN = ("_name_or_path", "name_or_path", "is_local", "local_files_only")
_WRITTEN_BY = ("transformers_version",)
# what earlier calls left there
_LEFT_BEHIND = ("truncation", "padding")


def model_fingerprint(model: PreTrainedModel) -> str:
    """Sixty-four hex digits of what a model computes, on its present device.

    Args:
        model: Dense, pruned, masked, gated or quantised.

    Raises:
        UsageError: for a model that holds what cannot be read: weights that are elsewhere or in a
            format of another library, a forward pass that was replaced, a hook with foreign state.
    """
    digest = hashlib.sha256()
    _add_plainly(digest, versions())
    _add_plainly(digest, own_code())
    _add_plainly(digest, _settings(model))
    own = {module: path for path, module in model.named_modules()}
    seen: dict[int, str] = {}
    for module, path in own.items():
        if "forward" in vars(module):
            raise _unreadable(f"the forward pass of {path or type(module).__name__} was replaced")
        _add_plainly(digest, [path, _name(type(module)), _attributes(module)])
        for name, tensor in _tensors(module):
            # a tied one is read once
            first = seen.setdefault(id(tensor), f"{path}.{name}")
            if first == f"{path}.{name}":
                _add_tensor(digest, first, tensor)
            else:
                _add_plainly(digest, [path, name, first])
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            _add_state(digest, hook, own, {})
    _add_plainly(digest, _foreign_code({type(module) for module in own}))
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Sixty-four hex digits of a tokenizer as it is stored.

    Args:
        tokenizer: Of any kind; how earlier calls padded and truncated is not part of it.
    """
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix != ".json":
                _add_plainly(digest, [path.name, path.read_bytes().hex() if path.is_file() else ""])
                continue
            content = json.loads(path.read_text(encoding="utf-8"))
            dropped = {*_ORIGIN, *(_LEFT_BEHIND if path.name == "tokenizer.json" else ())}
            kept = {key: value for key, value in content.items() if key not in dropped}
            _add_plainly(digest, [path.name, kept])
    return digest.hexdigest()


def config_fingerprint(config: PretrainedConfig) -> str:
    """Sixty-four hex digits of what a configuration says beside its class's defaults.

    Args:
        config: Of any model; where it was found and the version that wrote it are not part of it.
    """
    said = config.to_diff_dict()
    kept = {key: value for key, value in said.items() if key not in (*_ORIGIN, *_WRITTEN_BY)}
    digest = hashlib.sha256()
    _add_plainly(digest, kept)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """The libraries whose releases change numbers, or what is asked of a model."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


@functools.cache
def own_code() -> str:
    """The package's own code that answers come from, as a hash."""
    digest = hashlib.sha256()
    for folder in _OWN_CODE:
        for path in sorted((_PACKAGE / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(_PACKAGE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _settings(model: PreTrainedModel) -> dict[str, Any]:
    config = {key: value for key, value in model.config.to_dict().items() if key not in _ORIGIN}
    generation = getattr(model, "generation_config", None)
    return {
        "config": config,
        "attention": model.config._attn_implementation,
        "generation": None if generation is None else generation.to_dict(),
        "kernels": kernels_of(model),
        "device": model.device.type,
        "matrix_products": torch.get_float32_matmul_precision(),
    }


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {
        name: repr(value)
        for name, value in vars(module).items()
        if isinstance(value, _PLAIN) and name not in _ORIGIN
    }


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers and other tensors of one module, without those below it."""
    if isinstance(module, StoredLinear):
        # packed for a kernel they are no tensors
        yield from module.tensors()
        return
    yield from module.named_parameters(recurse=False, remove_duplicate=False)
    yield from module.named_buffers(recurse=False, remove_duplicate=False)
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield name, value


def _add_tensor(digest: Any, name: str, tensor: Tensor) -> None:
    if is_traceable_wrapper_subclass(tensor):
        inner, context = tensor.__tensor_flatten__()
        _add_plainly(digest, [name, _name(type(tensor)), repr(context)])
        for part in inner:
            _add_tensor(digest, f"{name}.{part}", getattr(tensor, part))
        return
    is_plain = type(tensor) in (Tensor, nn.Parameter, nn.Buffer)
    if not is_plain or tensor.is_meta or tensor.layout != torch.strided:
        raise _unreadable(f"{name} is a {type(tensor).__name__} on {tensor.device}")
    _add_plainly(digest, [name, str(tensor.dtype), list(tensor.shape)])
    bits = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(bits.numpy().data)


def _add_state(
    digest: Any, value: Any, own: dict[nn.Module, str], seen: dict[int, tuple[int, Any]]
) -> None:
    """Add a hook with everything that it holds; modules of the model are named only."""
    if isinstance(value, _PLAIN):
        _add_plainly(digest, repr(value))
    elif isinstance(value, nn.Module) and value in own:
        _add_plainly(digest, ["module", own[value]])
    elif id(value) in seen:
        _add_plainly(digest, ["again", seen[id(value)][0]])
    else:
        # kept alive, so that no other object gets its id
        seen[id(value)] = len(seen), value
        for part in _parts(digest, value):
            _add_state(digest, part, own, seen)


def _parts(digest: Any, value: Any) -> list[Any]:
    """What an object consists of, after its own kind was added."""
    if isinstance(value, Tensor):
        _add_tensor(digest, "tensor", value)
        return []
    if isinstance(value, BaseModel):
        _add_plainly(digest, [_name(type(value)), value.model_dump(mode="json")])
        return []
    if isinstance(value, FunctionType):
        _add_plainly(digest, [value.__module__, value.__qualname__, value.__code__.co_code.hex()])
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [*cells, *(value.__defaults__ or ())]
    if isinstance(value, MethodType):
        _add_plainly(digest, value.__func__.__qualname__)
        return [value.__self__]
    _add_plainly(digest, _name(type(value)))
    if isinstance(value, nn.Module):
        return [_attributes(value), dict(_tensors(value)), dict(value.named_children())]
    if isinstance(value, dict):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple):
        return list(value)
    if not hasattr(value, "__dict__"):
        raise _unreadable(f"a hook holds a {_name(type(value))}")
    return [vars(value)]


def _foreign_code(classes: set[type[nn.Module]]) -> dict[str, str]:
    """Hashes of code that came with a checkpoint, or from packages without a version here."""
    found = {}
    for one in sorted(classes, key=_name):
        package = one.__module__.split(".")[0]
        if package in (*_LIBRARIES, _OWN):
            continue
        try:
            folder = Path(inspect.getfile(one)).parent
        except (TypeError, OSError) as error:
            raise _unreadable(f"the class {_name(one)} has no file") from error
        digest = hashlib.sha256()
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
        found[_name(one)] = digest.hexdigest()
    return found


def _add_plainly(digest: Any, value: Any) -> None:
    default: Callable[[Any], str] = repr
    digest.update(json.dumps(value, sort_keys=True, default=default).encode() + b"\n")


def _name(one: type) -> str:
    return f"{one.__module__}.{one.__qualname__}"


def _unreadable(what: str) -> UsageError:
    return UsageError(
        f"answers of this model cannot be kept: {what}, which its fingerprint would leave out",
        "evaluate without --use_cache (`evaluate.cache` in a recipe)",
    )
