"""Real pretrained checkpoints, pruned ragged and grouped, saved and reloaded."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.models import Loaded, load_stored, save, structure_of
from sentinel_research.pruning import make_plan, mask, prune, remove
from sentinel_research.specs import ModelSpec, PruneSpec

NAMES = ["stories260K", "shakespeare-char-gpt2-4l", "shakespeare-char-gpt2-8l"]
TEXT = "Once upon a time, there was a little girl. She liked to play"


@pytest.fixture(params=NAMES)
def loaded(request: pytest.FixtureRequest, real_models: Path) -> Loaded:
    folder = real_models / request.param
    if not folder.is_dir():
        pytest.skip(f"no {request.param} in {real_models}")
    return load_stored(ModelSpec(pretrained=str(folder)))


@pytest.fixture
def ids(loaded: Loaded) -> Tensor:
    length = min(32, loaded.model.config.max_position_embeddings)
    return torch.tensor([loaded.tokenizer.encode(TEXT)[:length]])


@torch.no_grad()
def test_real_model_without_neurons_and_blocks_survives_saving(
    loaded: Loaded, ids: Tensor, tmp_path: Path
) -> None:
    structure = structure_of(loaded.model.config)
    neurons = [
        range(layer, structure.intermediate_size, 2) for layer in range(structure.num_layers)
    ]
    plan = make_plan(structure, neurons=neurons, without={"attention": [1], "ffn": [2]})
    pruned = remove(loaded.model, plan)
    logits, masked = pruned(ids).logits, mask(loaded.model, plan)(ids).logits
    assert float((logits - masked).abs().max()) <= 1e-5 * float(masked.abs().max())
    again = load_stored(ModelSpec(pretrained=str(save(pruned, loaded.tokenizer, tmp_path / "p"))))
    assert torch.equal(again.model(ids).logits, logits)


@torch.no_grad()
@pytest.mark.parametrize("pattern", ["ragged", "grouped", "layer0_empty"])
def test_pruned_real_model_survives_saving(
    loaded: Loaded, ids: Tensor, pattern: str, tmp_path: Path
) -> None:
    structure = structure_of(loaded.model.config)
    kept = [
        list(range(layer % structure.num_heads, structure.num_heads))
        for layer in range(structure.num_layers)
    ]
    if pattern == "grouped":
        size = max(2, structure.group_size)
        kept = [list(range(size, structure.num_heads)) for _ in kept]
    elif pattern == "layer0_empty":
        kept[0] = []
    plan = make_plan(structure, kept)
    pruned = remove(loaded.model, plan)
    logits = pruned(ids).logits
    masked = mask(loaded.model, plan)(ids).logits
    assert float((logits - masked).abs().max()) <= 1e-5 * float(masked.abs().max())
    folder = save(pruned, loaded.tokenizer, tmp_path / "pruned")
    again = load_stored(ModelSpec(pretrained=str(folder)))
    assert torch.equal(again.model(ids).logits, logits)
    assert again.tokenizer.encode(TEXT) == loaded.tokenizer.encode(TEXT)
    cached = again.model.generate(ids[:, :8], max_new_tokens=8, do_sample=False)
    full = again.model.generate(ids[:, :8], max_new_tokens=8, do_sample=False, use_cache=False)
    assert torch.equal(cached, full)


@torch.no_grad()
def test_informed_scorers_beat_the_opposite_choice(loaded: Loaded, ids: Tensor) -> None:
    """Removing the least important heads must hurt less than removing the most important ones."""
    sequences = ids.repeat(2, 1)
    spec = PruneSpec(scorer="leave_one_out", fraction=0.25, scope="global", min_per_layer=0)
    pruned, report = prune(loaded.model, spec, calibration=CalibrationSet.of(sequences))
    ranked = sorted(
        (score, layer, head)
        for layer, scores in enumerate(report.plan.scores["head"])
        for head, score in enumerate(scores)
    )
    worst = {(layer, head) for _, layer, head in ranked[-report.num_removed["head"] :]}
    structure = structure_of(loaded.model.config)
    kept = [[h for h in range(structure.num_heads) if (layer, h) not in worst]
            for layer in range(structure.num_layers)]  # fmt: skip
    opposite = remove(loaded.model, make_plan(structure, kept))
    losses = [model(ids, labels=ids).loss.item() for model in (pruned, opposite)]
    assert losses[0] < losses[1]
