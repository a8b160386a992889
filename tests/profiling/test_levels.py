"""All levels compute the same, and what differs is not timed."""

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.errors import CheckFailedError
from sentinel_research.models.layout import structure_of
from sentinel_research.models.tiny import tiny_model
from sentinel_research.profiling.levels import SkippingProjection, at_level, check_equal, skip
from sentinel_research.pruning import PruningPlan, make_plan

FAMILIES = ("gpt2", "opt", "bloom", "gpt_neox", "llama")


def _plan(model: PreTrainedModel) -> PruningPlan:
    """Ragged: some heads of some layers, every third neuron, and one block."""
    structure = structure_of(model.config)
    heads = [layer.heads[index % 2 :: 2] for index, layer in enumerate(structure.layers)]
    neurons = [layer.neurons[::3] for layer in structure.layers]
    return make_plan(structure, heads, neurons=neurons, without={"ffn": [1]})


@pytest.mark.parametrize("family", FAMILIES)
def test_levels_have_equal_outputs(family: str) -> None:
    model = tiny_model(family)
    plan = _plan(model)
    models = [at_level(model, plan, level) for level in (0, 1, 2)]
    differences = check_equal(models, ["gates", "skipped", "removed"])
    assert max(differences) < 1e-5
    # and they are not those of the dense model
    with pytest.raises(CheckFailedError, match="'dense' differs from 'gates'"):
        check_equal([models[0], model], ["gates", "dense"])


def test_level_1_keeps_the_weights_of_silent_units() -> None:
    model = tiny_model("gpt2")
    plan = make_plan(structure_of(model.config), [[0, 2]] * 3)
    small = skip(model, plan)
    parts = [one for one in small.modules() if isinstance(one, SkippingProjection)]
    assert len(parts) == 6
    assert sum(one.numel() for one in small.parameters()) == model.num_parameters()
    # a unit that was silent can be heard again
    whole = torch.ones(1, 30)
    parts[0].rows = None
    assert parts[0](whole).shape == (1, 90)


# a compiler at work takes a minute
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_level_has_equal_outputs() -> None:
    model = tiny_model("gpt2", n_layer=1, n_head=2, n_embd=8, n_inner=8)
    plan = make_plan(structure_of(model.config), [[0]])
    models = [at_level(model, plan, level) for level in (0, 3)]
    assert max(check_equal(models, ["gates", "compiled"])) < 1e-5
