"""What a fine-tuning is asked for: the flags of `sentinel finetune`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec
from sentinel_research.specs.listed import listed

OptimizationLevel = Literal[0, 1, 2, 3]
DEFAULT_PRUNING_LEVEL = 0.5
DEFAULT_STRATEGIES = ("magnitude",)
DEFAULT_EPOCHS = 3
DEFAULT_SEED = 42
SYNTHETIC = "synthetic"
REAL_DATA = "gutenberg"


def _number(value: Any) -> Any:
    """A flag's text, of which pydantic accepts no choice between numbers."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Fraction = Annotated[float, Field(ge=0, le=1)]


class FinetuneRequest(Spec):
    """Everything that one fine-tuning is asked for."""

    model_name: str
    """Folder or hub id of the model."""
    tokenizer: str | None = None
    """Folder or hub id of its tokenizer, or bytes; the model's own by default."""
    prefix_token_id: int | None = Field(default=None, ge=0)
    """Token before a text's first when it is scored; BOS or EOS by default, which character models
    lack."""
    pruning_level: Fraction | None = None
    """Share of the heads to prune; 0.5 by default."""
    pruning_levels: Annotated[
        tuple[Fraction, ...] | None, BeforeValidator(listed), Field(min_length=1)
    ] = None
    """Several of them, such as 0.1,0.2."""
    pruning_strategies: Annotated[tuple[str, ...], BeforeValidator(listed), Field(min_length=1)] = (
        DEFAULT_STRATEGIES
    )
    """What chooses the heads, such as random,entropy: magnitude is magnitude_l2, entropy is
    entropy_low (diffuse heads go first, as published), gradient is gate_gradient, random, or any
    scorer of `sentinel ls scorers`. Scorers that read text get the training corpus. Random masks
    are always beside them."""
    optimization_level: Annotated[OptimizationLevel, BeforeValidator(_number)] = 2
    """How pruned heads are left out: 0 multiplies them by zero, 1 trains without them and stores
    zeros in the dense layout, 2 removes them, 3 also compiles the training."""
    active_heads_only: bool = False
    """Train the heads that are left and nothing else."""
    per_head_lr: bool = False
    """Smaller updates for less important heads."""
    use_adaptive_lr: bool = False
    """A learning rate for every kind of component."""
    adaptive_masking: bool = False
    """Choose the pruned heads anew while training."""
    dataset: str | None = None
    """Corpus to train on and to measure on: wikitext, wikitext-2, wikitext-103, gutenberg, or
    another of `sentinel ls corpora`; synthetic by default."""
    eval_dataset: str | None = None
    """Corpus to measure on; without --dataset also the one to train on."""
    use_real_data: bool = False
    """Where no corpus is named, take gutenberg and not synthetic text."""
    max_length: int = Field(default=128, gt=1)
    """Tokens of a sequence, in training and in measuring."""
    batch_size: int = Field(default=8, gt=0)
    """Sequences per step."""
    epochs: int | None = Field(default=None, gt=0)
    """Passes over the training text; 3 by default."""
    learning_steps: int | None = Field(default=None, gt=0)
    """Steps, instead of --epochs."""
    learning_rate: float = Field(default=5e-5, gt=0)
    """Peak learning rate."""
    eval_interval: int | None = Field(default=None, gt=0)
    """Steps between validations, of which the best weights are kept; a pass by default."""
    early_stop_patience: int | None = Field(default=None, gt=0)
    """Stop after so many validations without a new lowest loss."""
    eval_samples: int | None = Field(default=None, gt=0)
    """Sequences that a validation reads, and documents that are measured; all by default."""
    limit: int | None = Field(default=None, gt=0)
    """Documents that are measured, for a quick look; as --eval_samples by default."""
    seed: int | None = None
    """Data order, dropout and random masks; 42 by default."""
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Several of them, for intervals."""
    save_checkpoints: bool = False
    """Keep every recovered model as a checkpoint folder."""
    visualize: bool = False
    """Write loss curves and pruning masks to OUTPUT_DIR/figures, as SVG and CSV."""
    verbose: bool = False
    """Let the model write at every --eval_interval, for the record; details on stderr."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    data: Path | None = None
    """Mirror folder laid out as hub repositories; else SENTINEL_DATA, else the hub."""
    output_dir: Path | None = None
    """Folder of record and report; runs/NAME-FINGERPRINT by default."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for one, other in (
            ("pruning_level", "pruning_levels"),
            ("epochs", "learning_steps"),
            ("seed", "seeds"),
        ):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"give one of `{one}` and `{other}`")
        for name in ("pruning_levels", "pruning_strategies", "seeds"):
            values = getattr(self, name) or ()
            if len(set(values)) < len(values):
                raise ValueError(f"`{name}` names a value twice: {', '.join(map(str, values))}")
        if self.use_real_data and SYNTHETIC in (self.dataset, self.eval_dataset):
            raise ValueError("`use_real_data` contradicts the dataset synthetic: leave one out")
        self._check_level()
        if self.adaptive_masking and self.early_stop_patience is not None:
            raise ValueError(
                "`early_stop_patience` goes back to the weights of the lowest loss, and "
                "`adaptive_masking` ends with the mask of the last step: leave one out"
            )
        return self

    def _check_level(self) -> None:
        if self.optimization_level != 0:
            return
        for name in ("active_heads_only", "per_head_lr", "adaptive_masking"):
            if getattr(self, name):
                raise ValueError(
                    f"`optimization_level` 0 is the dense reference, which knows no single heads: "
                    f"`{name}` goes with 1, 2 or 3"
                )
        if self.save_checkpoints:
            raise ValueError(
                "`optimization_level` 0 multiplies by zero while the model runs, which no "
                "checkpoint holds: `save_checkpoints` goes with 1, 2 or 3"
            )

    def generation(self, corpus: str) -> dict[str, Any] | None:  # noqa: ARG002
        """What the models write to be measured: nothing.

        Args:
            corpus: What is measured on.
        """
        return None

    @property
    def levels(self) -> tuple[float, ...]:
        """The fractions in their order, also where there is one."""
        one = DEFAULT_PRUNING_LEVEL if self.pruning_level is None else self.pruning_level
        return self.pruning_levels or (one,)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds in their order, also where there is one."""
        return self.seeds or (DEFAULT_SEED if self.seed is None else self.seed,)

    @property
    def train_dataset(self) -> str:
        """What is trained on."""
        return self.dataset or self.eval_dataset or (REAL_DATA if self.use_real_data else SYNTHETIC)

    @property
    def measured_dataset(self) -> str:
        """What is measured."""
        return self.eval_dataset or self.train_dataset

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """The recoveries that the flags name, in the order in which they compose."""
        chosen = {
            "heads": self.active_heads_only,
            "per_head_lr": self.per_head_lr,
            "component_lr": self.use_adaptive_lr,
            "adaptive_masking": self.adaptive_masking,
        }
        return {name: {} for name, wanted in chosen.items() if wanted} or {"full": {}}
