"""Training: what the optimiser is given, what is recorded, and that interruptions leave no mark."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sentinel_research.errors import DataError, UsageError
from sentinel_research.training import Adjustments, UpdateScaling, train
from sentinel_research.training.hf_trainer import AdjustedTrainer
from sentinel_research.training.settings import check_settings
from tests.training.conftest import (
    DROPOUT,
    LENGTH,
    NUM_BLOCKS,
    make_model,
    make_spec,
    same,
    weights,
)


def test_learning_rates_warm_up_and_follow_the_cosine_to_its_floor(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    spec = make_spec(warmup_fraction=0.3, min_learning_rate_fraction=0.1)
    _, report = train(make_model(), spec, blocks, tmp_path)
    used = [entry["learning_rate"] for entry in report["losses"]]
    peak, num_warm, num_all = 0.01, 3, 10
    expected = [
        peak * step / num_warm
        if step < num_warm
        else peak
        * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - num_warm) / (num_all - num_warm))))
        for step in range(num_all)
    ]
    # the scheduler multiplies in another order: a few units in the last place
    assert used == pytest.approx(expected, rel=1e-12)


def _batches_seen(
    architecture: str, blocks: np.ndarray, folder: Path, **config: Any
) -> list[bytes]:
    seen: list[bytes] = []
    model = make_model(architecture, **config)

    def note(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            seen.append(kwargs["input_ids"].numpy().tobytes())

    spec = make_spec(accumulation_steps=2)
    # the count of operations runs a copy of the model, which is not training
    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    train(model, spec, blocks, folder)
    hook.remove()
    return [batch for batch in seen if len(batch) == 2 * LENGTH * 8]


def test_every_architecture_sees_byte_identical_batches(blocks: np.ndarray, tmp_path: Path) -> None:
    gpt2 = _batches_seen("gpt2", blocks, tmp_path / "a")
    llama = _batches_seen("llama", blocks, tmp_path / "b")
    # dropout draws from the same global generator as the order of the data once did
    dropped = _batches_seen("gpt2", blocks, tmp_path / "c", **DROPOUT)
    assert len(gpt2) == 20
    assert gpt2 == llama == dropped
    rows = [batch[place : place + LENGTH * 8] for batch in gpt2 for place in (0, LENGTH * 8)]
    usable = [row.tobytes() for row in blocks[:20].astype("<i8")]
    # two passes, each over every block that fills a batch
    assert sorted(rows[:20]) == sorted(rows[20:]) == sorted(usable)
    assert rows[:20] != rows[20:]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mamba"])
def test_accumulated_parts_make_the_same_step_as_the_whole_batch(
    architecture: str, blocks: np.ndarray, tmp_path: Path
) -> None:
    whole, one = train(make_model(architecture), make_spec(), blocks, tmp_path / "a")
    spec = make_spec(accumulation_steps=4)
    parts, two = train(make_model(architecture), spec, blocks, tmp_path / "b")
    ids = torch.from_numpy(blocks[:4])
    first = float(make_model(architecture)(input_ids=ids, labels=ids).loss.detach())
    # at the start all batches cost about ln 259 a token; a sum over parts would be four times that
    assert one["losses"][0]["loss"] == pytest.approx(first, rel=0.02)
    # float32 sums in another order, through ten steps of Adam
    for name, value in weights(whole).items():
        assert torch.allclose(value, weights(parts)[name], atol=2e-4), name
    assert one["losses"][0]["loss"] == pytest.approx(two["losses"][0]["loss"], rel=1e-6)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "sentinel"])
def test_validation_loss_is_the_mean_over_tokens(
    architecture: str, blocks: np.ndarray, validation: np.ndarray, tmp_path: Path
) -> None:
    spec = make_spec(validate_every=5)
    model, report = train(make_model(architecture), spec, blocks, tmp_path, validation=validation)
    assert [entry["step"] for entry in report["validation"]] == [5, 10]
    ids = torch.from_numpy(validation)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, :-1]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    # batches of four and two blocks, summed in float32
    assert report["validation"][-1]["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_last_step_is_validated_where_the_interval_does_not_divide(
    blocks: np.ndarray, validation: np.ndarray, tmp_path: Path
) -> None:
    spec = make_spec(validate_every=4)
    _, report = train(make_model(), spec, blocks, tmp_path, validation=validation)
    assert [entry["step"] for entry in report["validation"]] == [4, 8, 10]


def test_best_weights_by_validation_loss_are_restored(blocks: np.ndarray, tmp_path: Path) -> None:
    # bytes that training never shows: the less of them is expected, the worse
    validation = 230 + blocks[:4] % 16
    spec = make_spec(validate_every=1, num_steps=12, learning_rate=0.05)
    last, report = train(make_model(), spec, blocks, tmp_path / "a", validation=validation)
    best_spec = spec.model_copy(update={"keep": "best"})
    best, kept = train(make_model(), best_spec, blocks, tmp_path / "b", validation=validation)
    assert report["validation"] == kept["validation"]
    assert kept["kept_step"] == kept["best_step"] < report["kept_step"] == 12
    ids = torch.from_numpy(validation)
    with torch.no_grad():
        losses = [float(model(input_ids=ids, labels=ids).loss) for model in (best, last)]
    assert losses[0] == pytest.approx(min(one["loss"] for one in kept["validation"]), rel=1e-5)
    assert losses[0] < losses[1]


def test_large_gradients_are_clipped_to_the_norm_that_is_asked_for(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    norms: list[float] = []
    model = make_model()
    original = torch.optim.AdamW.step

    def note(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        parts = [p.grad.norm() for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.stack(parts).norm()))
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", note)
        _, report = train(model, make_spec(max_grad_norm=0.05), blocks, tmp_path)
    # clip_grad_norm_ divides by the norm plus 1e-6
    assert norms == pytest.approx([0.05] * 10, rel=1e-3)
    assert all(entry["grad_norm"] > 0.05 for entry in report["losses"])


def test_optimiser_gets_the_decay_and_betas_of_the_spec_and_vectors_no_decay(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}
    model = make_model()
    original = AdjustedTrainer.create_optimizer

    def note(self: AdjustedTrainer, *args: Any, **kwargs: Any) -> Any:
        optimiser = original(self, *args, **kwargs)
        seen["groups"] = [dict(group) for group in optimiser.param_groups]
        return optimiser

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdjustedTrainer, "create_optimizer", note)
        train(model, make_spec(weight_decay=0.3, betas=(0.8, 0.95)), blocks, tmp_path)
    decayed, plain = seen["groups"]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert decayed["betas"] == plain["betas"] == (0.8, 0.95)
    assert {parameter.ndim for parameter in decayed["params"]} == {2}
    assert {parameter.ndim for parameter in plain["params"]} == {1}
    assert sum(len(group["params"]) for group in (decayed, plain)) == len([*model.parameters()])


def test_time_constants_of_mamba_are_never_decayed(tmp_path: Path) -> None:
    from transformers import TrainingArguments

    model = make_model("mamba")
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    scaling = UpdateScaling(model, {})
    trainer = AdjustedTrainer(Adjustments(), scaling, model=model, args=arguments)
    names = trainer.get_decay_parameter_names(model)
    assert any(name.endswith("in_proj.weight") for name in names)
    assert not any(name.endswith(("A_log", ".D", "bias", "norm.weight")) for name in names)


def test_gradient_checkpointing_changes_operations_and_nothing_else(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    plain, one = train(make_model(), make_spec(), blocks, tmp_path / "a")
    spec = make_spec(gradient_checkpointing=True)
    saved, two = train(make_model(), spec, blocks, tmp_path / "b")
    assert same(weights(plain), weights(saved))
    assert one["losses"] == two["losses"]
    assert not saved.is_activation_checkpointing
    assert two["flops_per_step"]["backward"] > one["flops_per_step"]["backward"]


def test_bf16_computes_in_half_precision_and_keeps_float32weights(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    model = make_model()
    kinds: list[torch.dtype] = []

    def note(_module: Any, _args: Any, output: torch.Tensor) -> None:
        kinds.append(output.dtype)

    model.transformer.h[0].mlp.c_fc.register_forward_hook(note)
    trained, report = train(model, make_spec(precision="bf16"), blocks, tmp_path)
    assert torch.bfloat16 in kinds
    assert {parameter.dtype for parameter in trained.parameters()} == {torch.float32}
    assert report["precision"] == "bf16"
    # what is returned computes as what is saved
    plain = make_model()
    plain.load_state_dict(trained.state_dict())
    ids = torch.from_numpy(blocks[:2])
    with torch.no_grad():
        assert torch.equal(trained(input_ids=ids).logits, plain.eval()(input_ids=ids).logits)
    _, full = train(make_model(), make_spec(), blocks, tmp_path / "full")
    halves, fulls = ([one["loss"] for one in of["losses"]] for of in (report, full))
    assert halves != fulls
    # eight bits of mantissa, through ten steps at losses of about 5
    assert halves == pytest.approx(fulls, rel=2e-2)


def test_fp16_on_a_cpu_is_refused_with_what_to_type(blocks: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fp16 needs a GPU") as caught:
        train(make_model(), make_spec(precision="fp16"), blocks, tmp_path)
    assert "bf16" in caught.value.hint


def test_checkpointing_of_a_model_without_it_and_half_weights_are_refused() -> None:
    model = make_model()
    model.supports_gradient_checkpointing = False
    with pytest.raises(UsageError, match="GPT2LMHeadModel does not support it"):
        check_settings(model, make_spec(gradient_checkpointing=True), LENGTH)
    with pytest.raises(UsageError, match=r"needs float32 weights, got torch\.bfloat16"):
        check_settings(make_model().bfloat16(), make_spec(), LENGTH)


def test_blocks_longer_than_the_context_are_refused(blocks: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"= 16 is longer than the model's context of 8 tokens"):
        train(make_model(n_positions=8), make_spec(), blocks, tmp_path)


def test_last_steps_are_in_the_log_where_the_interval_does_not_divide(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    _, report = train(make_model(), make_spec(num_steps=83), blocks, tmp_path)
    steps = [entry["step"] for entry in report["losses"]]
    assert steps[0] == 1
    assert steps[1:3] == [2, 4]
    assert steps[-1] == 83


def test_report_measures_tokens_speed_memory_and_operations(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    model, report = train(make_model(), make_spec(), blocks, tmp_path)
    assert report["num_tokens"] == 10 * 4 * (LENGTH - 1)
    assert report["num_blocks"] == NUM_BLOCKS - 1
    assert report["num_steps_timed"] == 10
    assert report["tokens_per_second"] == pytest.approx(10 * 4 * LENGTH / report["seconds"])
    memory = report["memory"]
    assert memory["absent"] or memory["peak_bytes"] >= memory["before_bytes"] > 0
    # two operations for every multiply-add of a weight matrix and of attention's two products
    hidden, layers, vocabulary = 16, 2, model.config.vocab_size
    per_token = 2 * (layers * 12 * hidden**2 + hidden * vocabulary + layers * 2 * hidden * LENGTH)
    assert report["flops_per_step"]["forward"] == per_token * 4 * LENGTH
    assert report["flops_per_step"]["backward"] == 2 * report["flops_per_step"]["forward"]
    assert report["flops_per_token"] == 3 * per_token


def test_too_few_blocks_and_missing_validation_are_refused(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="fewer than one batch of 4"):
        train(make_model(), make_spec(), blocks[:3], tmp_path)
    with pytest.raises(DataError, match="blocks to validate on were not given"):
        train(make_model(), make_spec(validate_every=2), blocks, tmp_path)
    assert not list(tmp_path.iterdir())
