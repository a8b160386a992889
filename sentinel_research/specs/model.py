"""Which model to start from, and how to train one."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from sentinel_research.specs.agency import AgencySpec
from sentinel_research.specs.base import Spec
from sentinel_research.specs.quantise import QuantiseSpec, StoreSpec

ConfigValue = int | float | str | bool | None | list[str] | dict[str, Any]
"""What a configuration of transformers takes."""


class ModelSpec(Spec):
    """Which model to start from: a checkpoint, or an architecture to train from scratch.

    Neither is what the architectures of a comparison share."""

    YOUNGER: ClassVar[frozenset[str]] = frozenset(
        {"bits", "activations", "device_map", "max_memory"}
    )

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
    device_map: Literal["auto"] | dict[str, int | str] | None = None
    """Spread the layers over all GPUs, the processor's memory and the disk, to measure a model that
    fits into none: `auto`, or a place (a GPU's number, `cpu`, `disk`) for every module by its path.
    """
    max_memory: dict[str, int | str] | None = None
    """What `device_map: auto` may take, by GPU number or `cpu`, such as `{0: 70GiB, cpu: 400GiB}`;
    null leaves it what is free."""
    attn_implementation: Literal["auto", "sdpa", "eager"] = "auto"
    """transformers' attention implementation; `auto` is SDPA where the family has it."""
    shrink_baked: bool = True
    """Remove heads and neurons whose output weights are all exactly zero, after loading."""
    agency: AgencySpec | None = None
    """Head gates and extra paths to add, at rest; a stored model that has them brings its own."""
    quantise: QuantiseSpec | None = None
    """Round the weights after loading to the grid of a few bits; they stay in their type."""
    bits: Literal[4, 8, 16, 32] | None = None
    """What models are measured in, pruned and recovered first: 32, float32; 16, 8 or 4, projections
    held in so many bits and the rest in float32 (bfloat16 on CUDA). See docs/precision.md."""
    activations: Literal["auto", "float", "int8"] = "auto"
    """What projections of 8 bits multiply; `auto` is what computes fastest on the device."""
    trust_remote_code: bool = False
    """Run Python code that comes with the checkpoint. Never on by default."""

    @field_validator("max_memory", mode="before")
    @classmethod
    def _devices_are_named(cls, given: Any) -> Any:
        """YAML reads the number of a GPU as one; JSON has names alone."""
        is_named = isinstance(given, dict)
        return {str(name): limit for name, limit in given.items()} if is_named else given

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
        self._check_bits()
        self._check_places()
        if self.pretrained is None and self.revision != "main":
            raise ValueError("`revision` belongs to `pretrained`, not to `architecture`")
        if self.agency is not None and self.agency.compared_baseline is not None:
            raise ValueError(
                f"`agency.baseline` = '{self.agency.baseline}' names a model of a comparison, and "
                "here is none: give a folder or a hub id"
            )
        return self

    def _check_places(self) -> None:
        if self.device_map is None:
            if self.max_memory is not None:
                raise ValueError("`max_memory` limits `device_map: auto`, which is not given")
            return
        if self.device_map != "auto" and self.max_memory is not None:
            raise ValueError("`max_memory` is for `device_map: auto`: here every place is named")
        if self.pretrained is None:
            raise ValueError("`device_map` is for measuring a checkpoint: name it in `pretrained`")
        for name in ("bits", "quantise", "agency"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`{name}` changes weights where they are, and `device_map` moves them between "
                    "devices: leave one of them out"
                )

    def _check_bits(self) -> None:
        if self.activations != "auto" and self.store is None:
            raise ValueError(
                f"`activations: {self.activations}` goes with `bits: 8` (or 4, or 16): without it "
                "no projection is stored small"
            )
        if self.bits is None:
            return
        if self.dtype != "auto":
            raise ValueError(
                f"`bits: {self.bits}` and `dtype: {self.dtype}` both say how weights are held: "
                "leave one of them out"
            )
        if self.quantise is not None:
            raise ValueError(
                "`bits` holds weights in a few bits and `quantise` rounds them in float: leave one "
                "of them out"
            )
        if self.pretrained is None:
            raise ValueError(
                "`bits` goes with `pretrained`; of what a run trains, evaluate the folder that it "
                "leaves: sentinel evaluate FOLDER --bits 8"
            )

    @property
    def store(self) -> StoreSpec | None:
        """How projections are held; null where they keep a type of their own."""
        if self.bits is None or self.bits == 32:
            return None
        return StoreSpec(bits=self.bits, activations=self.activations)
