"""What a user asks for: frozen, strict specs and the recipe that joins them.

A recipe is YAML; every key is a field below, an unknown key is an error. `Recipe.fingerprint()`
identifies everything that can change a number, so that a run folder never mixes two requests.
"""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

Fraction = Field(ge=0.0, le=1.0)


class Spec(BaseModel):
    """Base of all specs: immutable, keyword-only, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )

    def fingerprint(self) -> str:
        """Sixteen hex digits of the SHA-256 of the canonical JSON of this spec."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


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
    """Hub revision of `pretrained`."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Weights' type; `auto` keeps the checkpoint's."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    attn_implementation: Literal["sdpa", "eager"] = "sdpa"
    """transformers' attention implementation."""
    trust_remote_code: bool = False
    """Run Python code that comes with the checkpoint. Never on by default."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.pretrained is None) == (self.architecture is None):
            raise ValueError("give exactly one of `pretrained` and `architecture`")
        if self.pretrained is not None and self.config:
            raise ValueError("`config` belongs to `architecture`, not to `pretrained`")
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


class CalibrationSpec(Spec):
    """The text that calibrated scorers read. It never comes from an evaluation split."""

    corpus: str
    """Corpus name (`sentinel ls corpora`); its train split is used."""
    num_sequences: int = Field(default=64, gt=0)
    """How many sequences are drawn."""
    sequence_length: int = Field(default=128, gt=1)
    """Tokens per sequence; at most the model's context."""
    batch_size: int = Field(default=16, gt=0)
    """Sequences per forward pass; it does not change a score."""
    seed: int = 0
    """Which sequences are drawn."""


class PruneSpec(Spec):
    """One pruning: how heads are scored, how many go, and in which form."""

    scorer: str
    """Registered scorer (`sentinel ls scorers`)."""
    fraction: float = Fraction
    """Share of the units to remove, rounded down to whole units."""
    scope: Literal["local", "global"] = "local"
    """`local`: the fraction of every layer; `global`: of all units together."""
    granularity: Literal["head", "kv_group"] = "head"
    """`head`: query heads; `kv_group`: a key/value head with all its query heads."""
    form: Literal["remove", "mask"] = "remove"
    """`remove` slices the weights; `mask` multiplies the heads' outputs by zero."""
    min_heads_per_layer: int = Field(default=1, ge=0)
    """Units (heads or groups) that stay in every layer; 0 allows layers without attention."""
    seed: int = 0
    """Seed of the `random` scorer and of nothing else."""
    calibration: CalibrationSpec | None = None
    """Required by calibrated scorers."""


class PruneGrid(Spec):
    """The prunings of a recipe: scorers x fractions, and seeds for scorers that depend on one."""

    scorers: list[str] = Field(min_length=1)
    """Registered scorers."""
    fractions: list[float] = Field(min_length=1)
    """Shares to remove; 0 is the dense model, always evaluated once."""
    seeds: list[int] = Field(default=[0], min_length=1)
    """Repetitions of seeded scorers (`random`)."""
    scope: Literal["local", "global"] = "local"
    """See PruneSpec."""
    granularity: Literal["head", "kv_group"] = "head"
    """See PruneSpec."""
    form: Literal["remove", "mask"] = "remove"
    """See PruneSpec."""
    min_heads_per_layer: int = Field(default=1, ge=0)
    """See PruneSpec."""
    calibration: CalibrationSpec | None = None
    """See PruneSpec."""
    save_models: bool = False
    """Keep every pruned model as a checkpoint folder of the run."""

    @model_validator(mode="after")
    def _values_fit_together(self) -> Self:
        for fraction in self.fractions:
            if not 0.0 <= fraction <= 1.0:
                raise ValueError(f"fractions must lie in [0, 1], got {fraction}")
        if self.save_models and self.form == "mask":
            raise ValueError(
                "`save_models` needs `form: remove`: a mask is not part of a checkpoint"
            )
        for field in ("scorers", "fractions", "seeds"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"`{field}` holds a value twice: {values}")
        return self

    def cells(self, is_seeded: dict[str, bool]) -> list[PruneSpec]:
        """Every pruning of the grid, in a fixed order.

        Args:
            is_seeded: for each scorer whether it is repeated over `seeds`.
        """
        shared = self.model_dump(exclude={"scorers", "fractions", "seeds", "save_models"})
        return [
            PruneSpec.model_validate(
                {**shared, "scorer": scorer, "fraction": fraction, "seed": seed}
            )
            for scorer in self.scorers
            for fraction in sorted(self.fractions)
            if fraction > 0
            for seed in (self.seeds if is_seeded[scorer] else self.seeds[:1])
        ]


class RecoverSpec(Spec):
    """The recovery after pruning, by a registered recipe."""

    recipe: str
    """Registered recovery (`sentinel ls recoveries`)."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of that recipe."""


class EvalSpec(Spec):
    """What is measured, through lm-eval."""

    tasks: list[str] = Field(min_length=1)
    """lm-eval task names; the project's own are listed by `sentinel ls tasks`."""
    limit: int | None = Field(default=None, gt=0)
    """Only the first documents of every task, for a quick look; null evaluates all."""
    batch_size: int = Field(default=64, gt=0)
    """Windows or requests per forward pass."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Examples in the prompt; null keeps each task's own."""
    max_length: int | None = Field(default=None, gt=0)
    """Perplexity window in tokens; null is the model's context."""
    prefix_token_id: int | None = Field(default=None, ge=0)
    """Token before a text's first; null is the tokenizer's BOS or EOS."""
    add_bos_token: bool | None = None
    """Whether BOS becomes part of a text (and of its loss); null is the tokenizer's own way."""
    allow_lossy_tokenizer: bool = False
    """Score texts that the tokenizer cannot represent whole."""
    seed: int = 1234
    """Seed of lm-eval's few-shot sampling."""


class Recipe(Spec):
    """Everything one run needs, from model to report."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Short name; also the default name of the run folder."""
    description: str
    """One or two sentences for the report."""
    data: str | None = None
    """Mirror folder laid out as hub repositories; else `SENTINEL_DATA`, else the hub."""
    model: ModelSpec
    """The model."""
    train: TrainSpec | None = None
    """Training from scratch; required with `model.architecture`, otherwise absent."""
    prune: PruneGrid | None = None
    """The prunings to compare."""
    recover: RecoverSpec | None = None
    """Recovery of every pruned model; null skips the stage."""
    evaluate: EvalSpec
    """The measurement."""

    @model_validator(mode="after")
    def _train_matches_model(self) -> Self:
        if (self.train is None) != (self.model.architecture is None):
            raise ValueError("`train` goes with `model.architecture`, and only with it")
        return self
