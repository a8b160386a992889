"""States follow from statistics and from the operator, and from nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sentinel_research.errors import UsageError
from sentinel_research.models.agency import (
    Head,
    HeadGate,
    HeadState,
    HeadStatistics,
    Lock,
    describe_agency,
    head_states,
    hold_active,
    release,
    withdraw_consent,
)
from sentinel_research.models.agency.states import next_states
from sentinel_research.models.tiny import tiny_model
from sentinel_research.specs import AgencySpec, StatePolicy
from tests.models.agency import gated

POLICY = StatePolicy()
ACTIVE, OVERLOADED, MISALIGNED, WITHDRAWN = HeadState


def _statistics(
    utilisation: float = 0.5, alignment: float = 0.5, usage: float = 0.25
) -> HeadStatistics:
    """The first of four heads; the others are ordinary, with an equal share of the usage."""
    return HeadStatistics(
        torch.tensor([utilisation, 0.5, 0.5, 0.5]),
        torch.tensor([alignment, 0.5, 0.5, 0.5]),
        torch.tensor([usage, 0.25, 0.25, 0.25]),
    )


def _next(before: HeadState, statistics: HeadStatistics) -> HeadState:
    states = torch.tensor([before, ACTIVE, ACTIVE, ACTIVE], dtype=torch.int8)
    after = next_states(states, statistics, POLICY)
    assert after[1:].eq(ACTIVE).all()
    assert after.dtype == torch.int8
    return HeadState(int(after[0]))


@pytest.mark.parametrize(
    ("statistics", "expected"),
    [
        (_statistics(), ACTIVE),
        (_statistics(utilisation=0.9), OVERLOADED),
        (_statistics(alignment=-0.1), MISALIGNED),
        (_statistics(usage=0.01), WITHDRAWN),
        (_statistics(utilisation=0.9, alignment=-0.1), MISALIGNED),
        (_statistics(utilisation=0.9, alignment=-0.1, usage=0.01), WITHDRAWN),
    ],
    ids=["ordinary", "overloaded", "misaligned", "withdrawn", "two at once", "three at once"],
)
def test_state_is_the_first_of_those_whose_threshold_is_crossed(
    statistics: HeadStatistics, expected: HeadState
) -> None:
    assert _next(ACTIVE, statistics) is expected


@pytest.mark.parametrize(
    ("state", "between", "left"),
    [
        (OVERLOADED, _statistics(utilisation=0.8), _statistics(utilisation=0.74)),
        (MISALIGNED, _statistics(alignment=-0.02), _statistics(alignment=0.01)),
        # shares of four heads: 0.02 is 0.08 of an equal share, 0.03 is 0.12
        (WITHDRAWN, _statistics(usage=0.02), _statistics(usage=0.03)),
    ],
    ids=lambda value: value.name if isinstance(value, HeadState) else "",
)
def test_between_the_thresholds_a_head_stays_what_it_is(
    state: HeadState, between: HeadStatistics, left: HeadStatistics
) -> None:
    assert _next(state, between) is state
    assert _next(ACTIVE, between) is ACTIVE
    assert _next(state, left) is ACTIVE


_share = st.floats(0, 1, width=32)


@given(
    before=st.lists(st.sampled_from(list(HeadState)), min_size=1, max_size=9),
    data=st.data(),
)
def test_the_same_statistics_a_second_time_move_no_head(
    before: list[HeadState], data: st.DataObject
) -> None:
    size = len(before)
    values = [data.draw(st.lists(_share, min_size=size, max_size=size)) for _ in range(3)]
    found = HeadStatistics(*torch.tensor(values))
    once = next_states(torch.tensor(before, dtype=torch.int8), found, POLICY)
    assert torch.equal(next_states(once, found, POLICY), once)


@given(data=st.data())
def test_no_statistics_override_a_lock(data: st.DataObject) -> None:
    gate = HeadGate(3, 2, 4, AgencySpec(policy=StatePolicy(decay=0))).train()
    gate.set_lock(0, Lock.WITHDRAWN)
    gate.set_lock(1, Lock.ACTIVE)
    for _ in range(3):
        values = [data.draw(st.lists(_share, min_size=3, max_size=3)) for _ in range(3)]
        gate.update(HeadStatistics(*torch.tensor(values) * torch.tensor([[1], [-1], [1]])))
        assert gate.state[:2].tolist() == [WITHDRAWN, ACTIVE]
        assert gate.multiplier[:2].tolist() == [0.0, 1.0]


def test_multiplier_is_that_of_the_state() -> None:
    policy = StatePolicy(decay=0, overloaded=0.25, misaligned=0.5)
    gate = HeadGate(4, 2, 4, AgencySpec(policy=policy)).train()
    gate.update(
        HeadStatistics(
            torch.tensor([0.5, 0.9, 0.5, 0.5]),
            torch.tensor([0.5, 0.5, -0.9, 0.5]),
            torch.tensor([0.4, 0.3, 0.3, 0.0]),
        )
    )
    assert gate.state.tolist() == [ACTIVE, OVERLOADED, MISALIGNED, WITHDRAWN]
    assert gate.multiplier.tolist() == [1.0, 0.25, 0.5, 0.0]


def test_without_a_policy_statistics_move_no_state() -> None:
    gate = HeadGate(2, 2, 4, AgencySpec()).train()
    gate.update(HeadStatistics(torch.ones(2), -torch.ones(2), torch.zeros(2)))
    assert gate.state.tolist() == [ACTIVE, ACTIVE]


def test_operator_withdraws_holds_and_releases_heads_at_once() -> None:
    model = gated("gpt2")
    withdraw_consent(model, [(0, 3), (2, 1)])
    hold_active(model, [(1, 0)])
    found = [head for head, state in head_states(model).items() if state is WITHDRAWN]
    assert found == [Head(0, 3), Head(2, 1)]
    assert describe_agency(model)["agency"]["heads"] == {"L0H3": "withdrawn", "L2H1": "withdrawn"}
    release(model, [(0, 3), (2, 1), (1, 0)])
    assert set(head_states(model).values()) == {ACTIVE}
    assert all("lock" not in name or not b.any() for name, b in model.named_buffers())


def test_released_head_waits_for_the_policys_next_update() -> None:
    gate = HeadGate(2, 2, 4, AgencySpec(policy=POLICY)).train()
    gate.set_lock(0, Lock.WITHDRAWN)
    gate.set_lock(0, Lock.NONE)
    assert gate.state.tolist() == [WITHDRAWN, ACTIVE]
    gate.update(HeadStatistics(torch.zeros(2), torch.ones(2), torch.full((2,), 0.5)))
    assert gate.state.tolist() == [ACTIVE, ACTIVE]


def test_lock_of_a_head_that_is_not_there_changes_nothing() -> None:
    model = gated("gpt2")
    with pytest.raises(UsageError, match="there is no head L1H5"):
        withdraw_consent(model, [(0, 0), (1, 5)])
    assert set(head_states(model).values()) == {ACTIVE}


def test_numbers_that_checkpoints_hold_for_states_and_locks_are_those_of_every_release() -> None:
    assert [state.name for state in sorted(HeadState)] == [
        "ACTIVE", "OVERLOADED", "MISALIGNED", "WITHDRAWN"
    ]  # fmt: skip
    assert [lock.name for lock in sorted(Lock)] == ["NONE", "WITHDRAWN", "ACTIVE"]
    assert sorted(HeadState) == [0, 1, 2, 3]
    assert sorted(Lock) == [0, 1, 2]


def test_model_without_gates_has_no_states() -> None:
    with pytest.raises(UsageError, match="has no head gates") as caught:
        head_states(tiny_model("gpt2"))
    assert "add_agency" in caught.value.hint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gate": None}, "asks for nothing"),
        ({"gate": None, "skips": True, "policy": {}}, "acts through gates"),
        ({"l0_penalty": 0.1}, "`l0_penalty` is for `gate: hard_concrete`"),
        ({"policy": {"relieve_below": 0.9}}, "`relieve_below` = 0.9 must not exceed"),
        ({"policy": {"misalign_below": 0.5}}, "`misalign_below` = 0.5 must not exceed"),
        ({"policy": {"withdraw_below": 0.5}}, "`withdraw_below` = 0.5 must not exceed"),
    ],
    ids=["nothing", "policy without gate", "penalty", "overload", "misalign", "withdraw"],
)
def test_spec_that_contradicts_itself_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AgencySpec.model_validate(fields)
