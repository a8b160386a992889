"""Which model to start from, and how to train one."""

from typing import Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.agency import AgencySpec
from sentinel_research.specs.base import Spec
from sentinel_research.specs.quantise import QuantiseSpec

ConfigValue = int | float | str | bool | None | list[str] | dict[str, Any]
"""What a configuration of transformers takes."""


class ModelSpec(Spec):
    """Which model to start from: a checkpoint, or an architecture to train from scratch.

    Neither is what the architectures of a comparison share."""

    pretrained: str | None = None
    """Local folder or hub id of a causal LM. Exclusive with `architecture`."""
    architecture: str | None = None
    """Registered architecture (`sentinel ls architectures`), initialised from `config`."""
    config: dict[str, ConfigValue] = Field(default_factory=dict)
    """Keyword arguments of the architecture's configuration class."""
    tokenizer: str | None = None
    """Local folder or hub id of the tokenizer, or `bytes` for one token per byte of UTF-8; with
    `pretrained` its own by default, with `architecture` the training corpus' own (synthetic)."""
    revision: str = "main"
    """Hub revision of `pretrained`; a folder has none but `main`."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Weights' type; `auto` keeps the checkpoint's."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    attn_implementation: Literal["auto", "sdpa", "eager"] = "auto"
    """transformers' attention implementation; `auto` is SDPA where the family has it."""
    shrink_baked: bool = True
    """Remove heads and neurons whose output weights are all exactly zero, after loading."""
    agency: AgencySpec | None = None
    """Head gates and extra paths to add, at rest; a stored model that has them brings its own."""
    quantise: QuantiseSpec | None = None
    """Round the weights after loading to the grid of a few bits; they stay in their type."""
    trust_remote_code: bool = False
    """Run Python code that comes with the checkpoint. Never on by default."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.pretrained is not None and self.architecture is not None:
            raise ValueError("give exactly one of `pretrained` and `architecture`")
        if self.architecture is None and self.config:
            raise ValueError("`config` belongs to `architecture`, not to `pretrained`")
        if self.pretrained is None and self.quantise is not None:
            raise ValueError(
                "`quantise` rounds the weights of `pretrained`; what a run trains is rounded by "
                "`prune.quantise`, or loaded from its folder"
            )
        if self.pretrained is None and self.revision != "main":
            raise ValueError("`revision` belongs to `pretrained`, not to `architecture`")
        if self.agency is not None and self.agency.compared_baseline is not None:
            raise ValueError(
                f"`agency.baseline` = '{self.agency.baseline}' names a model of a comparison, and "
                "here is none: give a folder or a hub id"
            )
        return self
