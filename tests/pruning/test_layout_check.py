"""Models that are not laid out as their family says are refused before anything is sliced."""

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sentinel_research.errors import UsageError
from sentinel_research.models import anatomy_of, structure_of
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import bake, make_plan, remove
from sentinel_research.pruning.layout_check import check_layout


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


def test_model_as_its_family_says_is_accepted_dense_and_pruned(model: PreTrainedModel) -> None:
    check_layout(model)
    plan = make_plan(
        structure_of(model.config),
        [[0, 2], [], [1]],
        neurons=[[5], [1, 2], []],
        without={"ffn": [1]},
    )
    check_layout(remove(model, plan))


@pytest.mark.parametrize("block", ["attention", "ffn"])
def test_projection_of_another_class_is_refused_by_name(model: PreTrainedModel, block: str) -> None:
    class Adapted(nn.Linear):
        """An adapter looks like a projection, and is not one."""

    path = anatomy_of(model.config).output_path(1, block)
    old = model.get_submodule(path)
    model.set_submodule(path, Adapted(*old.weight.shape))
    with pytest.raises(UsageError, match=rf"{path} is a .*Adapted, not an ordinary") as caught:
        check_layout(model)
    assert "merge adapters" in caught.value.hint
    for form in (remove, bake):
        with pytest.raises(UsageError, match="not an ordinary projection"):
            form(model, make_plan(structure_of(model.config)))


def test_projection_of_another_shape_is_refused_with_both_shapes(model: PreTrainedModel) -> None:
    row = anatomy_of(model.config)
    path = row.input_paths(2, "ffn")[0]
    inputs, outputs = structure_of(model.config).hidden_size, 36
    new = nn.Linear(inputs, outputs) if row.weight == "linear" else Conv1D(outputs, inputs)
    model.set_submodule(path, new)
    shape = list(new.weight.shape)
    with pytest.raises(UsageError, match=path) as caught:
        check_layout(model)
    assert f"has shape {shape}" in caught.value.message
    assert "anatomy.py" in caught.value.hint


def test_quantised_model_is_refused(model: PreTrainedModel) -> None:
    path = anatomy_of(model.config).output_path(0, "ffn")
    module = model.get_submodule(path)
    weight = module.weight
    module.weight = nn.Parameter(weight.detach().to(torch.int8), requires_grad=False)
    with pytest.raises(UsageError, match=r"torch\.int8 weights, which are quantised"):
        check_layout(model)
    module.weight = weight
    model.config.quantization_config = {"quant_method": "any"}
    with pytest.raises(UsageError, match="weights are quantised") as caught:
        check_layout(model)
    assert "before quantising" in caught.value.hint


def test_weight_that_is_not_in_memory_is_refused_by_name(model: PreTrainedModel) -> None:
    model.get_output_embeddings().to("meta")
    with pytest.raises(UsageError, match="is not in memory") as caught:
        check_layout(model)
    assert "device_map" in caught.value.hint
