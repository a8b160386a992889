"""Short texts, so that counts can be done by hand."""

import pytest

from sentinel_research.specs import CostSpec

PROMPT, NEW = 6, 2


@pytest.fixture
def short() -> CostSpec:
    return CostSpec(
        prompt_tokens=PROMPT,
        new_tokens=NEW,
        num_repetitions=2,
        fresh_process=False,
        modules=False,
    )
