"""One pruning, and the prunings that a recipe compares."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec
from sentinel_research.specs.granularity import (
    MANUAL,
    Granularities,
    Granularity,
    check_granularity,
    check_units,
)
from sentinel_research.specs.quantise import PruneQuantiseSpec

PruneForm = Literal["remove", "mask", "withdraw"]
UnitName = Annotated[str, Field(pattern=r"^L\d+([HN]\d+(-\d+)?|\.attention|\.ffn)$")]
"""`L3H7`, `L3H0-3`, `L3N12-40`, `L3.attention`, `L3.ffn`; ranges with both ends."""


class CalibrationSpec(Spec):
    """The text that calibrated scorers read. It never comes from an evaluation split."""

    corpus: str | None = None
    """Corpus name (`sentinel ls corpora`); its train split is used. Exclusive with `task`."""
    task: str | None = None
    """lm-eval task; its training documents are used, and only its targets count in the loss."""
    num_sequences: int = Field(default=64, gt=0)
    """How many sequences are drawn."""
    sequence_length: int = Field(default=128, gt=1)
    """Tokens per sequence; at most the model's context."""
    batch_size: int = Field(default=16, gt=0)
    """Sequences per forward pass; it does not change a score."""
    seed: int = 0
    """Which sequences are drawn."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.corpus is None) == (self.task is None):
            raise ValueError("give exactly one of `corpus` and `task`")
        return self


class PruneSpec(Spec):
    """One pruning: how units are scored, how many go, and in which form."""

    YOUNGER: ClassVar[frozenset[str]] = frozenset({"units"})

    scorer: str
    """Registered scorer (`sentinel ls scorers`); `manual` with `units`."""
    fraction: float = Field(ge=0.0, le=1.0)
    """Share of the budget to remove, rounded down to whole units."""
    units: tuple[UnitName, ...] = ()
    """The units that go, by name, in place of those that a scorer would choose."""
    granularity: Granularities = "head"
    """What one unit is. `head`: a query head; `kv_group`: a key/value head with all its query
    heads; `neuron`: of a feed-forward block; `attention`, `ffn`: a whole block; `layer`: both;
    `weight`: single weights; `2:4`: two of every four weights. A list ranks several together; a
    block beside its own parts needs `scope: global` and a budget of parameters or FLOPs."""
    scope: Literal["local", "global"] = "local"
    """`local`: the fraction of every layer; `global`: of all units together. Blocks and layers
    are always ranked together; weights are compared inside an output row (`local`) or a matrix."""
    budget: Literal["units", "parameters", "flops"] = "units"
    """What the fraction is a share of: units, their parameters, or their forward FLOPs."""
    normalise: Literal["none", "layer"] = "none"
    """`layer` divides scores of heads, groups or neurons by their L2 norm in every layer before
    `global` compares them."""
    form: PruneForm = "remove"
    """`remove` slices the weights; `mask` multiplies the units' outputs by zero; `withdraw` takes
    the consent of heads from the gates of a model with agency, whose policy, if it has one, then
    moves the states of the others on the calibration text."""
    compensate: Literal["none", "bias"] = "none"
    """`bias` adds the mean output of removed heads and neurons to the output biases (FLAP)."""
    min_per_layer: int = Field(default=1, ge=0)
    """Heads, groups or neurons that stay in every layer; 0 allows emptied blocks."""
    seed: int = 0
    """Seed of the `random` scorer and of nothing else."""
    calibration: CalibrationSpec | None = None
    """Required by calibrated scorers."""
    transfer_from: str | None = None
    """Folder or hub id of another model: it is pruned by this spec, and its plan is transferred
    by relative depth and rank. Not for single weights."""
    quantise: PruneQuantiseSpec | None = None
    """Round weights to the grid of a few bits: for the scores, before pruning, or after it."""
    variant: str | None = None
    """Name of the recipe's variant that this pruning belongs to."""

    @property
    def granularities(self) -> tuple[Granularity, ...]:
        """The kinds of unit, as a tuple also where there is one."""
        return (self.granularity,) if isinstance(self.granularity, str) else self.granularity

    @model_validator(mode="after")
    def _values_fit_together(self) -> Self:
        check_granularity(self, [self.fraction])
        _check_form(self)
        check_units(self, [self.fraction])
        if bool(self.units) != (self.scorer == MANUAL):
            raise ValueError(f"`scorer: {MANUAL}` goes with `units`, and only with them")
        return self


class PruneVariant(Spec):
    """What one variant of a grid does otherwise; null keeps the grid's own."""

    YOUNGER: ClassVar[frozenset[str]] = frozenset({"form"})

    scorers: list[str] | None = None
    """See PruneGrid."""
    fractions: list[float] | None = None
    """See PruneGrid."""
    granularity: Granularities | None = None
    """See PruneSpec."""
    scope: Literal["local", "global"] | None = None
    """See PruneSpec."""
    budget: Literal["units", "parameters", "flops"] | None = None
    """See PruneSpec."""
    normalise: Literal["none", "layer"] | None = None
    """See PruneSpec."""
    form: PruneForm | None = None
    """See PruneSpec."""
    compensate: Literal["none", "bias"] | None = None
    """See PruneSpec."""
    min_per_layer: int | None = Field(default=None, ge=0)
    """See PruneSpec."""
    calibration: CalibrationSpec | None = None
    """See PruneSpec; it replaces the grid's whole."""
    transfer_from: str | None = None
    """See PruneSpec."""
    quantise: PruneQuantiseSpec | None = None
    """See PruneSpec."""


class PruneGrid(Spec):
    """The prunings of a recipe: scorers x fractions, and seeds for scorers that depend on one."""

    YOUNGER: ClassVar[frozenset[str]] = frozenset({"units"})

    scorers: list[str] = Field(default=[])
    """Registered scorers; none only where `units` names what goes."""
    fractions: list[float] = Field(min_length=1)
    """Shares to remove; 0 is the dense model, always evaluated once. Where `quantise` rounds what
    is left (all but `when: scores`), a 0 asks for the dense model rounded too."""
    units: tuple[UnitName, ...] = ()
    """Units that go by name (`sentinel explore` writes them), as a pruning beside those of the
    scorers. Needs `budget: parameters` and one fraction, the share that they are."""
    seeds: list[int] = Field(default=[0], min_length=1)
    """Repetitions of seeded scorers (`random`)."""
    calibration_seeds: list[int] | None = Field(default=None, min_length=1)
    """Repetitions of calibrated scorers over draws of the calibration text, of every variant that
    has one; null draws once, by the calibration's own seed."""
    granularity: Granularities = "head"
    """See PruneSpec."""
    scope: Literal["local", "global"] = "local"
    """See PruneSpec."""
    budget: Literal["units", "parameters", "flops"] = "units"
    """See PruneSpec."""
    normalise: Literal["none", "layer"] = "none"
    """See PruneSpec."""
    form: PruneForm = "remove"
    """See PruneSpec."""
    compensate: Literal["none", "bias"] = "none"
    """See PruneSpec."""
    min_per_layer: int = Field(default=1, ge=0)
    """See PruneSpec."""
    calibration: CalibrationSpec | None = None
    """See PruneSpec."""
    transfer_from: str | None = None
    """See PruneSpec."""
    quantise: PruneQuantiseSpec | None = None
    """See PruneSpec."""
    variants: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], PruneVariant] = Field(
        default_factory=dict
    )
    """Named variants of this grid, compared with each other; without any, the grid itself runs."""
    save_models: bool = False
    """Keep every pruned model as a checkpoint folder of the run."""

    @model_validator(mode="after")
    def _values_fit_together(self) -> Self:
        for fraction in self.fractions:
            if not 0.0 <= fraction <= 1.0:
                raise ValueError(f"fractions must lie in [0, 1], got {fraction}")
        if self.save_models and "mask" in self.forms:
            raise ValueError(
                "`save_models` needs `form: remove`: a mask is not part of a checkpoint"
            )
        check_granularity(self, self.fractions)
        _check_form(self)
        check_units(self, self.fractions)
        if not self.scorers and not self.units:
            raise ValueError("`scorers` names none: name one or more, or `units` that go")
        if MANUAL in self.scorers:
            raise ValueError(f"`{MANUAL}` is no scorer: name the units that go in `units`")
        if self.calibration_seeds is not None and not self._has_calibration:
            raise ValueError("`calibration_seeds` needs `calibration`")
        for field in ("scorers", "fractions", "seeds", "calibration_seeds"):
            values = getattr(self, field) or []
            if len(set(values)) != len(values):
                raise ValueError(f"`{field}` holds a value twice: {values}")
        # a variant that makes no sense is reported with the recipe, not when its turn comes
        assert all(grid is not None for _, grid in self.grids)
        return self

    @property
    def grids(self) -> list[tuple[str | None, "PruneGrid"]]:
        """Every variant with its name, as a grid of its own; the grid itself if there is none."""
        if not self.variants:
            return [(None, self)]
        shared = self.model_dump(exclude={"variants"})
        found: list[tuple[str | None, PruneGrid]] = []
        for name, variant in self.variants.items():
            own = {**shared, **variant.model_dump(exclude_none=True)}
            # one of several variants may read no text
            draws = {} if own["calibration"] else {"calibration_seeds": None}
            found.append((name, PruneGrid(**{**own, **draws})))
        return found

    @property
    def forms(self) -> set[PruneForm]:
        """Every form that a pruning of any variant takes."""
        return {grid.form for _, grid in self.grids} if self.variants else {self.form}

    @property
    def calibrations(self) -> list[CalibrationSpec]:
        """Every draw of every variant once, in their order; empty without calibration."""
        return list(dict.fromkeys(draw for _, grid in self.grids for draw in grid._draws))

    @property
    def _has_calibration(self) -> bool:
        given = [self.calibration, *(one.calibration for one in self.variants.values())]
        return any(one is not None for one in given)

    @property
    def _draws(self) -> list[CalibrationSpec]:
        """Of this grid itself, whatever its variants."""
        given = self.calibration
        seeds = self.calibration_seeds or ([given.seed] if given else [])
        return [given.model_copy(update={"seed": seed}) for seed in seeds if given]

    def cells(self, is_seeded: dict[str, bool], is_calibrated: dict[str, bool]) -> list[PruneSpec]:
        """Every pruning of the grid, in a fixed order, one variant after the other.

        Args:
            is_seeded: by scorer, whether it is repeated over `seeds`.
            is_calibrated: by scorer, whether over `calibration_seeds`; others get the first draw.
        """
        return [
            spec
            for name, grid in self.grids
            for spec in grid._cells(name, is_seeded, is_calibrated)
        ]

    def _cells(
        self, variant: str | None, is_seeded: dict[str, bool], is_calibrated: dict[str, bool]
    ) -> Iterator[PruneSpec]:
        own = {"scorers", "fractions", "seeds", "calibration", "calibration_seeds", "save_models"}
        shared = self.model_dump(exclude={*own, "units", "variants"})
        draws: list[CalibrationSpec | None] = [*self._draws] or [None]
        if self.units:
            (fraction,) = self.fractions
            yield PruneSpec(
                **shared, scorer=MANUAL, fraction=fraction, units=self.units, variant=variant
            )
        yield from (
            PruneSpec(
                **shared,
                scorer=scorer,
                fraction=fraction,
                seed=seed,
                calibration=draw,
                variant=variant,
            )
            for scorer in self.scorers
            for fraction in self._fractions_of(scorer)
            # all masks of nothing are one
            for seed in (self.seeds if is_seeded[scorer] and fraction else self.seeds[:1])
            for draw in (draws if is_calibrated[scorer] and fraction else draws[:1])
        )

    def _fractions_of(self, scorer: str) -> list[float]:
        """0 once, and only where quantising makes it another model than the dense one."""
        is_other = self.quantise is not None and self.quantise.when != "scores"
        with_zero = is_other and scorer == self.scorers[0]
        return sorted(set(self.fractions) - (set() if with_zero else {0}))


def _check_form(spec: PruneSpec | PruneGrid) -> None:
    """What leaves weights in their places: they would be rounded too, or share a grid."""
    asked = spec.quantise
    if asked is not None and asked.when in ("after", "joint") and spec.form != "remove":
        raise ValueError(
            f"`quantise: {{when: {asked.when}}}` rounds what pruning leaves and needs `form: "
            "remove`; `when: before` rounds all of the model"
        )
    kinds = (spec.granularity,) if isinstance(spec.granularity, str) else spec.granularity
    if spec.form == "withdraw" and not {*kinds} <= {"head", "kv_group"}:
        raise ValueError(
            "`form: withdraw` takes the consent of heads: `granularity` must be head or kv_group, "
            f"not {', '.join(kinds)}"
        )
