"""Which model to start from, and how to train one."""

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.agency import AgencySpec
from sentinel_research.specs.base import Spec


class ModelSpec(Spec):
    """Which model to start from: a checkpoint, or an architecture to train from scratch."""

    pretrained: str | None = None
    """Local folder or hub id of a causal LM. Exclusive with `architecture`."""
    architecture: str | None = None
    """Registered architecture (`sentinel ls architectures`), initialised from `config`."""
    config: dict[str, int | float | str | bool] = Field(default_factory=dict)
    """Keyword arguments of the architecture's configuration class."""
    tokenizer: str | None = None
    """Local folder or hub id of the tokenizer; with `pretrained` its own by default, with
    `architecture` the training corpus' own (synthetic) by default."""
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
    trust_remote_code: bool = False
    """Run Python code that comes with the checkpoint. Never on by default."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.pretrained is None) == (self.architecture is None):
            raise ValueError("give exactly one of `pretrained` and `architecture`")
        if self.pretrained is not None and self.config:
            raise ValueError("`config` belongs to `architecture`, not to `pretrained`")
        if self.architecture is not None and self.revision != "main":
            raise ValueError("`revision` belongs to `pretrained`, not to `architecture`")
        return self


class TrainSpec(Spec):
    """Training from scratch on packed blocks of one corpus."""

    corpus: str
    """Corpus name (`sentinel ls corpora`), its train split is used."""
    num_steps: int = Field(gt=0)
    """Optimiser steps."""
    sequence_length: int = Field(default=128, gt=1)
    """Tokens per training sequence."""
    batch_size: int = Field(default=32, gt=0)
    """Sequences per step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of AdamW."""
    warmup_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps with linear warm-up, before cosine decay to zero."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    seed: int = 0
    """Initialisation and data order."""
