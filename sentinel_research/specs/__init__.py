"""What a user asks for: frozen, strict specs and the recipe that joins them.

A recipe is YAML; every key is a field here, an unknown key is an error. `Recipe.fingerprint()`
identifies everything that can change a number, so that a run folder never mixes two requests.
"""

from sentinel_research.specs.agency import AgencySpec, GateMode, StatePolicy
from sentinel_research.specs.base import Spec
from sentinel_research.specs.compare import ArchitectureSpec, CompareSpec, MatchSpec
from sentinel_research.specs.corpus import CorpusSpec, FilterSpec
from sentinel_research.specs.cost import CostSpec
from sentinel_research.specs.downstream import DownstreamSpec
from sentinel_research.specs.generation import GenerationSpec
from sentinel_research.specs.granularity import Granularity
from sentinel_research.specs.judgement import JudgementSpec
from sentinel_research.specs.long_context import LongContextSpec
from sentinel_research.specs.model import ModelSpec
from sentinel_research.specs.prune import (
    CalibrationSpec,
    PruneGrid,
    PruneSpec,
    PruneVariant,
)
from sentinel_research.specs.quantise import PruneQuantiseSpec, QuantiseSpec, StoreSpec
from sentinel_research.specs.recipe import EvalSpec, Recipe
from sentinel_research.specs.recover import Methods, RecoverGrid, RecoverSpec, RecoverVariant
from sentinel_research.specs.samples import SampleSpec
from sentinel_research.specs.study import StudyKind, StudySpec
from sentinel_research.specs.sweep import SweepSpec
from sentinel_research.specs.train import FitSpec, TrainSpec
from sentinel_research.specs.tune import TuneSpec

__all__ = [
    "AgencySpec",
    "ArchitectureSpec",
    "CalibrationSpec",
    "CompareSpec",
    "CorpusSpec",
    "CostSpec",
    "DownstreamSpec",
    "EvalSpec",
    "FilterSpec",
    "FitSpec",
    "GateMode",
    "GenerationSpec",
    "Granularity",
    "JudgementSpec",
    "LongContextSpec",
    "MatchSpec",
    "Methods",
    "ModelSpec",
    "PruneGrid",
    "PruneQuantiseSpec",
    "PruneSpec",
    "PruneVariant",
    "QuantiseSpec",
    "Recipe",
    "RecoverGrid",
    "RecoverSpec",
    "RecoverVariant",
    "SampleSpec",
    "Spec",
    "StatePolicy",
    "StoreSpec",
    "StudyKind",
    "StudySpec",
    "SweepSpec",
    "TrainSpec",
    "TuneSpec",
]
