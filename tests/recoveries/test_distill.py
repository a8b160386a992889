"""The model before pruning teaches: exact losses, and nothing of it where it has no weight."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research import registry
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import UsageError
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.recoveries.distill import distillation_loss, hidden_loss
from tests.recoveries.conftest import (
    Subject,
    assert_held,
    assert_resumes_exactly,
    changed,
    inputs_of,
    recovered,
    spec_of,
    subject,
)

LABELS = torch.tensor([[5, 3, -100, 0, 2], [-100, -100, 1, 6, -100]])


def _random(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _plain_kl(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """`tau^2 / N sum_n sum_v p_v ln(p_v / q_v)`, term by term in double precision."""
    terms = []
    for row in range(2):
        for position in range(4):
            if LABELS[row, position + 1] == -100:
                continue
            q, p = (
                torch.softmax(one[row, position].double() / temperature, -1).tolist()
                for one in (student, teacher)
            )
            terms.append(math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    assert len(terms) == 5
    return temperature**2 * math.fsum(terms) / len(terms)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_divergence_is_that_of_the_formula(temperature: float) -> None:
    student, teacher = _random(0, 2, 5, 7), _random(1, 2, 5, 7)
    found = distillation_loss(student, teacher, LABELS, temperature)
    # float32 softmax
    assert float(found) == pytest.approx(_plain_kl(student, teacher, temperature), rel=1e-5)
    assert _plain_kl(student, teacher, 1) != pytest.approx(_plain_kl(teacher, student, 1), rel=0.1)


def test_equal_distributions_do_not_diverge() -> None:
    logits = _random(0, 2, 5, 7)
    # logits are known up to a constant
    assert float(distillation_loss(logits, logits, LABELS, 2.0)) == 0
    assert float(distillation_loss(logits, logits + 1, LABELS, 2.0)) == pytest.approx(0, abs=1e-6)


def test_positions_without_a_label_do_not_count() -> None:
    student, teacher = _random(0, 2, 5, 7), _random(1, 2, 5, 7)
    other = student.clone()
    # they would predict: ignored, ignored, nothing, ignored
    other[0, 1], other[1, 0], other[1, 4], other[1, 3] = 9.0, -9.0, 9.0, -9.0
    found = distillation_loss(other, teacher, LABELS, 2.0)
    assert float(found) == float(distillation_loss(student, teacher, LABELS, 2.0))


def test_gradient_is_the_difference_of_the_distributions() -> None:
    """Hinton et al. 2015, equation 2: `tau (q - p)`, with the factor `tau^2`."""
    student, teacher = _random(0, 2, 5, 7).requires_grad_(), _random(1, 2, 5, 7)
    distillation_loss(student, teacher, LABELS, 3.0).backward()
    assert student.grad is not None
    q, p = (torch.softmax(one[0, 2].detach() / 3, -1) for one in (student, teacher))
    # five positions count
    torch.testing.assert_close(student.grad[0, 2], 3 * (q - p) / 5, rtol=1e-4, atol=1e-6)


def test_hidden_states_are_compared_at_root_mean_square_one() -> None:
    states = [
        (_random(0, 2, 5, 6), _random(1, 2, 5, 6)),
        (_random(2, 2, 5, 6), _random(3, 2, 5, 6)),
    ]
    counts = LABELS[:, 1:] != -100
    terms = []
    for pair in states:
        own, its = (one[:, :-1][counts].double() for one in pair)
        own, its = (one / one.square().mean(-1, keepdim=True).sqrt() for one in (own, its))
        terms.append((own - its).square().mean())
    found = hidden_loss([one for one, _ in states], [one for _, one in states], LABELS)
    assert float(found) == pytest.approx(float(sum(terms) / 2), rel=1e-5)
    scaled = hidden_loss([2 * one for one, _ in states], [one for _, one in states], LABELS)
    assert float(scaled) == pytest.approx(float(found), rel=1e-5)


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": 0.0, "temperature": 7}], ids=str)
def test_without_weight_training_is_plain(options: dict[str, float], text: TrainingSet) -> None:
    one = subject()
    plain = recovered(one, spec_of(), text).model
    assert not changed(plain, recovered(one, spec_of({"distill": options}), text).model)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_loss_of_a_step_is_that_of_the_formula(family: str, text: TrainingSet) -> None:
    config = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if family == "gpt2" else {}
    config = {"dropout": 0.0} if family == "opt" else config
    one = subject(family, config)
    options = {"alpha": 0.7, "temperature": 3.0, "hidden_weight": 0.5}
    inputs = inputs_of(one, text, {"distill": options})
    plugin = registry.get("recoveries", "distill")
    term = plugin(inputs, plugin.options(**options)).loss
    ids = torch.from_numpy(text.blocks[:3])
    batch = {"input_ids": ids, "labels": ids}
    own, its = (
        model(**batch, output_hidden_states=True)
        for model in (one.pruned.train(), one.dense.eval())
    )
    wanted = (
        0.3 * own.loss
        + 0.7 * distillation_loss(own.logits, its.logits, ids, 3.0)
        + 0.5 * hidden_loss(own.hidden_states[1:], its.hidden_states[1:], ids)
    )
    assert len(own.hidden_states) == 4
    torch.testing.assert_close(term(one.pruned, batch, own, own.loss), wanted)


def test_teacher_is_used_without_dropout_and_left_as_it_was(text: TrainingSet) -> None:
    one = subject()
    loud = {"attn_pdrop": 0.5, "embd_pdrop": 0.5, "resid_pdrop": 0.5}
    teacher = tiny_model("gpt2", seed=2, **loud).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    spec = spec_of({"distill": {}})
    quiet = recovered(one, spec, text).model
    assert not changed(quiet, recovered(one._replace(dense=teacher), spec, text).model)
    assert teacher.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_that_are_gone_have_hidden_states_to_compare(family: str, text: TrainingSet) -> None:
    one = subject(family, granularity="layer", scope="global")
    assert not all(layer.has_ffn for layer in one.plan.kept)
    spec = spec_of({"distill": {"hidden_weight": 1.0}}, num_steps=1)
    report = recovered(one, spec, text).report
    assert report["distill"]["hidden_weight"] == 1.0
    json.dumps(report, allow_nan=False)


def test_every_option_changes_training(text: TrainingSet) -> None:
    one = subject()
    options = [{}, {"alpha": 0.9}, {"temperature": 8.0}, {"hidden_weight": 1.0}]
    models: list[PreTrainedModel] = [
        recovered(one, spec_of({"distill": each}, num_steps=2), text).model for each in options
    ]
    assert all(changed(models[0], other) for other in models[1:])
    assert_held(one, models[0])


def test_teacher_brings_the_student_closer_than_the_text_does(text: TrainingSet) -> None:
    one = subject()
    ids = torch.from_numpy(text.blocks[:8])
    spec = {"num_steps": 30, "learning_rate": 0.003}

    def divergence(methods: dict[str, dict[str, float]]) -> float:
        model = recovered(one, spec_of(methods, **spec), text).model
        with torch.no_grad():
            return float(distillation_loss(model(ids).logits, one.dense(ids).logits, ids, 1.0))

    assert divergence({"distill": {"alpha": 1.0, "temperature": 1.0}}) < 0.5 * divergence({})


def test_interrupted_recovery_goes_on_exactly(
    text: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of({"distill": {"hidden_weight": 0.1}})
    assert_resumes_exactly(subject(), spec, text, tmp_path, monkeypatch)


def test_missing_teacher_is_refused(text: TrainingSet) -> None:
    one = subject()._replace(dense=None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="none was given"):
        recovered(one, spec_of({"distill": {}}), text)


@pytest.mark.parametrize(
    ("teacher", "options"),
    [
        ({"vocab_size": 300}, {}),
        ({"n_layer": 2}, {"hidden_weight": 1.0}),
        ({"n_embd": 35}, {"hidden_weight": 1.0}),
    ],
    ids=["tokens", "layers", "width"],
)
def test_teacher_that_cannot_be_compared_is_refused(
    teacher: dict[str, int], options: dict[str, float], text: TrainingSet
) -> None:
    one: Subject = subject()._replace(dense=tiny_model("gpt2", **teacher))
    with pytest.raises(UsageError, match="`distill`: the teacher has"):
        recovered(one, spec_of({"distill": options}), text)
