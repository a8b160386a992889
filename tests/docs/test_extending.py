"""The examples of docs/extending.md do what the page says, and the page of formulas is complete."""

import re

import pytest
import yaml

from sentinel_research import registry
from sentinel_research.data.training_set import TrainingSet
from tests.docs.pages import DOCS
from tests.recoveries.conftest import recovered, spec_of, subject

PAGE = (DOCS / "extending.md").read_text()
MATHS = (DOCS / "maths.md").read_text()


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page's examples register, for one test."""
    for group in registry.REGISTRIES:
        monkeypatch.setitem(registry.REGISTRIES, group, registry._filled(group))
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "extending.md", "exec"), {})


@pytest.mark.usefixtures("_registered")
def test_examples_register_one_of_each_kind() -> None:
    for group, name in (
        ("scorers", "output_norm"),
        ("architectures", "narrow_gpt2"),
        ("recoveries", "frozen_embeddings"),
    ):
        assert registry.get(group, name).reference == "an example"


@pytest.mark.usefixtures("_registered")
def test_recovery_of_the_page_keeps_embeddings(text: TrainingSet) -> None:
    one = subject()
    found = recovered(one, spec_of({"frozen_embeddings": {}}), text)
    before, after = (model.state_dict() for model in (one.pruned, found.model))
    moved = {name for name in after if not after[name].equal(before[name])}
    assert "transformer.wte.weight" not in moved
    assert "transformer.wpe.weight" in moved


def test_task_of_the_page_has_what_lists_need() -> None:
    (task,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert yaml.safe_load(task)["metadata"]["description"]


@pytest.mark.parametrize("scorer", registry.names("scorers"))
def test_page_of_formulas_has_every_scorer(scorer: str) -> None:
    assert f"| `{scorer}` |" in MATHS


def test_sources_are_numbered_and_all_are_used() -> None:
    formulas, _, sources = MATHS.partition("## Sources\n")
    used = {int(number) for number in re.findall(r"\[(\d+)\]", formulas)}
    assert used == set(range(1, 1 + sum(line[:1].isdigit() for line in sources.splitlines())))
