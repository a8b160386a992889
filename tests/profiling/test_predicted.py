"""What is predicted of a combination is what is counted on the model that it leaves."""

import pytest

from sentinel_research.cost.counts import work_of
from sentinel_research.cost.schema import Rates
from sentinel_research.models.tiny import tiny_model
from sentinel_research.profiling.predicted import predictor
from sentinel_research.profiling.subject import Loaded, Subject
from sentinel_research.specs import CostSpec
from sentinel_research.specs.profile import Combination, ProfileSpec

RATES = Rates(flops_per_second=1e9, bytes_per_second=1e9)


@pytest.mark.parametrize("family", ["gpt2", "opt", "bloom", "gpt_neox", "llama"])
@pytest.mark.parametrize(
    "combination",
    [
        Combination(head=0.4),
        Combination(kv_group=0.5, neuron=0.3),
        Combination(head=0.4, neuron=0.5, layer=0.34),
    ],
    ids=lambda one: one.name,
)
def test_prediction_is_exact_in_operations_and_bytes(family: str, combination: Combination) -> None:
    model = tiny_model(family)
    spec = CostSpec(prompt_tokens=6, new_tokens=2)
    subject = Subject(ProfileSpec(model="a model"), Loaded(model, None))
    predicted = predictor(model, spec, RATES).work(subject.plan(combination).after)
    counted = work_of(subject.build(combination), spec)
    assert predicted == counted


def test_speed_up_is_the_ratio_of_predicted_times() -> None:
    model = tiny_model("gpt2")
    found = predictor(model, CostSpec(prompt_tokens=6, new_tokens=2), RATES)
    assert found.speed_up(found.structure)["decode"] == pytest.approx(1.0)
