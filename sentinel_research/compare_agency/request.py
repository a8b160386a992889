"""What a comparison of agency is asked for: the flags of `sentinel compare-agency`."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.agency import GateMode
from sentinel_research.specs.base import Spec
from sentinel_research.specs.listed import listed

SYNTHETIC = "synthetic"
PRESETS: dict[str, dict[str, Any]] = {
    "debug": {
        "pruning_levels": (0, 50),
        "temperatures": (1.0,),
        "num_tokens": 8,
        "max_prompts": 2,
        "iterations": 2,
        "learning_steps": 20,
        "limit": 4,
    },
    "cpu": {
        "precision": "float32",
        "pruning_levels": (0, 25, 50, 75),
        "num_tokens": 32,
        "max_prompts": 5,
        "batch_size": 5,
    },
    "colab": {
        "model_name": "gpt2",
        "device": "cuda",
        "precision": "float16",
        "max_prompts": 16,
        "batch_size": 16,
        "limit": 64,
    },
}
"""What every preset sets; a flag that is given wins."""

Percent = Annotated[float, Field(ge=0, lt=100)]
Temperature = Annotated[float, Field(ge=0)]


class AgencyComparisonRequest(Spec):
    """Everything that one comparison of agency is asked for."""

    CHANGES_NO_NUMBER: ClassVar[frozenset[str]] = frozenset(
        {"preset", "output_dir", "save_outputs", "memory_logging"}
    )

    preset: Literal["cpu", "debug", "colab"] | None = None
    """Several flags at once: cpu, a quick look on this machine; debug, seconds, to see that all
    works; colab, GPT-2 in float16 on a GPU. Flags that are given win."""
    model_name: str | None = None
    """Folder or hub id of the model; by default a small GPT-2 is trained on synthetic text, with
    agency and without, anew in every iteration."""
    agency_model: str | None = None
    """Folder or hub id of the same model with agency, trained; by default --model_name gets gates
    at rest."""
    gate: GateMode = "input"
    """Kind of gates, where none are stored."""
    frozen_states: bool = False
    """Leave the states of the heads that stay as they are; by default the policy moves them once,
    on calibration text, after heads have gone."""
    tokenizer: str | None = None
    """Folder or hub id of the tokenizer, or bytes; the model's own by default."""
    prefix_token_id: int | None = Field(default=None, ge=0)
    """Token before a text's first when it is scored; BOS or EOS by default, which character models
    lack."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Type of the weights; the checkpoint's by default."""
    pruning_levels: Annotated[tuple[Percent, ...], BeforeValidator(listed), Field(min_length=1)] = (
        0,
        20,
        40,
        60,
        80,
    )
    """Percent of the heads that go, such as 0,20,40."""
    pruning_method: str = "entropy"
    """What chooses the heads: entropy is entropy_low (diffuse heads go first, as published),
    magnitude is magnitude_l2, or any scorer of `sentinel ls scorers`. Random masks are always
    beside it."""
    num_tokens: int = Field(default=100, gt=1)
    """Tokens written behind every prompt."""
    temperatures: Annotated[
        tuple[Temperature, ...], BeforeValidator(listed), Field(min_length=1)
    ] = (0.7, 1.0)
    """Temperatures of the written text, such as 0.7,1.0; 0 takes the likeliest token."""
    max_prompts: int = Field(default=5, gt=1)
    """Held-out prompts; two or more, since errors are over prompts."""
    prompt_tokens: int = Field(default=32, gt=0)
    """Tokens of every prompt."""
    iterations: int = Field(default=3, gt=0)
    """Repetitions with another seed: of noise, random masks and calibration text, and of the
    training where the model is trained here. Intervals need two, tests more."""
    batch_size: int = Field(default=1, gt=0)
    """Prompts continued, and windows scored, at a time. Speed is always that of one text."""
    dataset: str | None = None
    """Corpus of prompts, perplexity (test split) and calibration (train split): one of `sentinel
    ls corpora`; synthetic for the model that is trained here, wikitext-2 for others."""
    limit: int | None = Field(default=None, gt=0)
    """Documents that perplexity is of; all by default."""
    max_length: int | None = Field(default=None, gt=1)
    """Perplexity window in tokens; the model's context by default."""
    learning_steps: int = Field(default=400, gt=0)
    """Steps of the training of the default model."""
    seed: int = Field(default=0, ge=0)
    """Of the first iteration."""
    save_outputs: bool = False
    """Keep every written text in OUTPUT_DIR/outputs.jsonl."""
    memory_logging: bool = False
    """Measure how far memory rises while every arm writes, beside the bytes of its weights."""
    data: Path | None = None
    """Mirror folder laid out as hub repositories; else SENTINEL_DATA, else the hub."""
    output_dir: Path | None = None
    """Folder of results, figures and records; runs/compare-agency-FINGERPRINT by default."""

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("preset") not in PRESETS:
            return given
        return {**PRESETS[given["preset"]], **given}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("pruning_levels", "temperatures"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"`{name}` names a value twice: {', '.join(map(str, values))}")
        if not any(self.pruning_levels):
            raise ValueError("`pruning_levels` holds only 0, which is the dense model")
        if self.agency_model is not None and self.model_name is None:
            raise ValueError("`agency_model` is compared with a plain one: give `model_name` too")
        if self.model_name is None and self.tokenizer is not None:
            raise ValueError("`tokenizer` belongs to `model_name`: give both, or neither")
        return self

    @property
    def levels(self) -> tuple[float, ...]:
        """Percent of the heads, increasing, without the dense model's 0."""
        return tuple(sorted({*self.pruning_levels} - {0}))

    @property
    def is_trained(self) -> bool:
        """Whether the models are trained here."""
        return self.model_name is None

    @property
    def corpus(self) -> str:
        """Name of what is read, as it was published."""
        return self.dataset or (SYNTHETIC if self.is_trained else "wikitext-2")

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.output_dir or Path("runs") / f"compare-agency-{self.fingerprint()[:8]}"
