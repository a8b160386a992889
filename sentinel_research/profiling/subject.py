"""The model that is profiled, the text that it is judged on, and what a combination makes of it."""

import copy
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research.bench.models import gpt2_of, widths
from sentinel_research.data.calibration import calibration_set
from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.packing import sample_sequences
from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.models.layout import structure_of
from sentinel_research.models.modes import evaluating
from sentinel_research.pruning import load, merge, remove
from sentinel_research.pruning.apply import plan_units
from sentinel_research.pruning.gates import gate_units, plan_gates
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.planning import make_plan
from sentinel_research.pruning.score import Scores, score_units
from sentinel_research.quantisation import store_small
from sentinel_research.specs import CalibrationSpec, ModelSpec, PruneSpec
from sentinel_research.specs.profile import Combination, ProfileSpec
from sentinel_research.statistics import Interval, mean_interval

_SHAPE = "shape:"
_BATCH = 16
_QUALITY_SPLIT = "test"
# what units are chosen on and what a search compares are different draws
_SEARCH_SEED = 1
_NUM_RANDOM, _RANDOM_LENGTH = 8, 32


class Loaded(NamedTuple):
    """What is profiled."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    """None for random weights."""


def load_subject(spec: ProfileSpec) -> Loaded:
    """Load the model, or build a random one of a shape.

    Raises:
        UsageError: for an unknown shape or an absent device, or a corpus for random weights.
        CheckpointError: if it cannot be loaded.
    """
    if spec.model.startswith(_SHAPE):
        width = spec.model.removeprefix(_SHAPE)
        if width not in widths():
            raise UsageError(f"unknown shape '{width}'", did_you_mean(width, widths()))
        if spec.corpus is not None:
            raise UsageError(
                f"{spec.model} has random weights, so text of '{spec.corpus}' says nothing of it",
                "Leave --corpus out, or name a trained model.",
            )
        model = gpt2_of(width, spec.device)
        dtype = torch.float32 if spec.dtype == "auto" else getattr(torch, spec.dtype)
        return Loaded(torch.nn.Module.to(model, dtype=dtype), None)
    found = load(ModelSpec(pretrained=spec.model, dtype=spec.dtype, device=spec.device))
    return Loaded(found.model, found.tokenizer)


class Quality(NamedTuple):
    """How well a model predicts, beside the dense one."""

    measure: str
    """What is measured, in words."""
    nats: float
    """Mean per token; of the distance to the dense model, or of the negative log-likelihood."""
    loss: Interval
    """What it lost against the dense model, nats per token, over sequences."""


class Subject:
    """A dense model with its text.

    Args:
        spec: The profile.
        loaded: The model; never changed.
    """

    def __init__(self, spec: ProfileSpec, loaded: Loaded) -> None:
        self.model = loaded.model
        self._spec, self._tokenizer = spec, loaded.tokenizer
        self._scores: dict[str, Scores] = {}
        self.has_text = spec.corpus is not None
        self.scorer = spec.scorer or ("gate_gradient" if self.has_text else "magnitude_l2")
        self.structure = structure_of(self.model.config)
        self._texts: dict[str, Int64[Tensor, "num seq"]] = {}
        self._dense: dict[str, Float64[Tensor, " num"]] = {}
        self._predicted: dict[str, Float[Tensor, "num seq vocabulary"]] = {}

    @property
    def measure(self) -> str:
        """What quality is, in words."""
        if self.has_text:
            return f"negative log-likelihood on {self._spec.corpus}, nats per token"
        return "divergence from the dense model on random tokens, nats per token"

    def plan(self, combination: Combination) -> PruningPlan:
        """What a combination leaves.

        Raises:
            UsageError: if the scorer cannot score a kind, or nothing would be left.
        """
        layers = self.structure.layers
        found = make_plan(self.structure, [layer.heads for layer in layers])
        for kind, fraction in combination.fractions.items():
            found = merge(found, self._plan(kind, fraction))
        return found.model_copy(update={"scorer": self.scorer})

    def build(self, combination: Combination) -> PreTrainedModel:
        """The model that a combination leaves, as it would be stored."""
        plan = self.plan(combination)
        # a model of its own: storing it small changes it
        found = copy.deepcopy(self.model) if plan.is_identity else remove(self.model, plan)
        if combination.bits != 32:
            store_small(found, combination.bits)
        return found

    def search_loss(self, combination: Combination) -> float:
        """What a combination loses on the text that a search compares on, nats per token."""
        reference = self._reference("search")
        if combination.bits != 32:
            losses = self._losses(self.build(combination), "search")
        else:
            gates = plan_gates(self.structure, self.plan(combination))
            with gate_units(self.model, gates):
                losses = self._losses(self.model, "search")
        return float((losses - reference).mean())

    def quality(self, model: PreTrainedModel) -> Quality:
        """How well a model predicts text that no choice has seen."""
        losses, dense = self._losses(model, "final"), self._reference("final")
        return Quality(self.measure, float(losses.mean()), mean_interval((losses - dense).tolist()))

    def _plan(self, kind: str, fraction: float) -> PruningPlan:
        spec = self._prune_spec(kind, fraction)
        calibration = self._calibration(spec)
        if kind not in self._scores:
            self._scores[kind] = score_units(self.model, spec, calibration)
        return plan_units(self.model, spec, calibration, scores=self._scores[kind]).plan

    def _prune_spec(self, kind: str, fraction: float) -> PruneSpec:
        text = None
        if self._spec.corpus is not None:
            text = CalibrationSpec(
                corpus=self._spec.corpus,
                num_sequences=self._spec.num_sequences,
                sequence_length=self._spec.sequence_length,
            )
        return PruneSpec.model_validate(
            {
                "scorer": self.scorer,
                "fraction": fraction,
                "granularity": kind,
                "calibration": text,
            }
        )

    def _calibration(self, spec: PruneSpec) -> CalibrationSet | None:
        if spec.calibration is not None and self._tokenizer is not None:
            return calibration_set(spec.calibration, self._tokenizer)
        return None

    def _text(self, purpose: str) -> Int64[Tensor, "num seq"]:
        """Token ids: of the train split for a search, of the test split in the end."""
        if purpose not in self._texts:
            self._texts[purpose] = self._drawn(purpose).to(self.model.device)
        return self._texts[purpose]

    def _drawn(self, purpose: str) -> Int64[Tensor, "num seq"]:
        spec, seed = self._spec, _SEARCH_SEED if purpose == "search" else _SEARCH_SEED + 1
        size = spec.num_sequences, spec.sequence_length
        if spec.corpus is None or self._tokenizer is None:
            generator = torch.Generator().manual_seed(seed)
            # every prediction is kept, a vocabulary for each token
            size = min(size[0], _NUM_RANDOM), min(size[1], _RANDOM_LENGTH)
            return torch.randint(self.model.config.vocab_size, size, generator=generator)
        split = "train" if purpose == "search" else _QUALITY_SPLIT
        texts = load_corpus(spec.corpus, split)["text"][:]
        return torch.from_numpy(sample_sequences(texts, self._tokenizer, *size, seed))

    def _reference(self, purpose: str) -> Float64[Tensor, " num"]:
        if purpose not in self._dense:
            self._dense[purpose] = self._losses(self.model, purpose)
        return self._dense[purpose]

    @torch.no_grad()
    def _losses(self, model: PreTrainedModel, purpose: str) -> Float64[Tensor, " num"]:
        """Mean of each sequence, nats per token."""
        ids = self._text(purpose)
        if not self.has_text and purpose not in self._predicted:
            # before anything gates the dense model
            self._predicted[purpose] = self._log_probs(self.model, ids)
        found = []
        for start in range(0, len(ids), _BATCH):
            rows = slice(start, start + _BATCH)
            log_probs = self._log_probs(model, ids[rows])
            if self.has_text:
                picked = log_probs[:, :-1].gather(2, ids[rows, 1:, None])[..., 0]
                found.append(-picked.mean(1))
            else:
                dense = self._predicted[purpose][rows]
                found.append((dense.exp() * (dense - log_probs)).sum(2).mean(1))
        return torch.cat(found).double().cpu()

    @staticmethod
    def _log_probs(model: PreTrainedModel, ids: Tensor) -> Tensor:
        with evaluating(model):
            return model(ids, use_cache=False).logits.float().log_softmax(-1)
