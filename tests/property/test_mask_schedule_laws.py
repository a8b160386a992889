"""Laws of masks that change while a model trains: when, how much, and what leaves first."""

from hypothesis import assume, given, strategies

from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import FAMILIES
from sentinel_research.pruning.units import kept_parts, removed_units
from sentinel_research.recoveries.schedules import (
    exchanged_share,
    fraction_at,
    gradual_updates,
    repeated_updates,
)
from tests.property.conftest import models

SHAPES = strategies.sampled_from(["cubic", "linear"])
SHARES = strategies.floats(0, 1)


@given(final=SHARES, first=SHARES, second=SHARES, shape=SHAPES)
def test_fraction_never_falls_and_never_exceeds_the_final_one(
    final: float, first: float, second: float, shape: str
) -> None:
    early, late = sorted((first, second))
    found = [fraction_at(final, share, shape) for share in (0.0, early, late, 1.0)]  # type: ignore[arg-type]
    assert found == sorted(found)
    assert found[0] == 0
    # exact, so that as many units are gone in the end as one-shot pruning takes
    assert found[-1] == final


@given(
    final=SHARES,
    num_steps=strategies.integers(1, 60),
    num_updates=strategies.integers(1, 12),
    ends=strategies.tuples(SHARES, SHARES),
    shape=SHAPES,
)
def test_gradual_updates_have_steps_of_their_own_and_end_at_the_fraction(
    final: float, num_steps: int, num_updates: int, ends: tuple[float, float], shape: str
) -> None:
    begin, end = sorted(ends)
    try:
        found = gradual_updates(final, num_steps, num_updates, begin, end, shape)  # type: ignore[arg-type]
    except UsageError:
        assume(False)
    assert len(found) == num_updates
    assert list(found) == sorted(found)
    assert 0 <= min(found) <= max(found) < num_steps
    assert list(found.values()) == sorted(found.values())
    assert found[max(found)] == final


@given(num_steps=strategies.integers(2, 60), every=strategies.integers(1, 70), until=SHARES)
def test_repeated_updates_end_before_their_share_of_the_steps(
    num_steps: int, every: int, until: float
) -> None:
    try:
        found = repeated_updates(0.5, num_steps, every, until)
    except UsageError:
        assert every >= until * num_steps
        return
    assert list(found)[:2] == [0, every]
    assert max(found) < until * num_steps <= max(found) + every


@given(initial=SHARES, first=SHARES, second=SHARES)
def test_exchanged_share_falls_from_its_initial_value_to_none(
    initial: float, first: float, second: float
) -> None:
    early, late = sorted((round(first * 100), round(second * 100)))
    found = [exchanged_share(initial, step, 100) for step in (0, early, late, 100)]
    assert found == sorted(found, reverse=True)
    assert found[0] == initial
    assert found[-1] == 0


@given(data=strategies.data())
def test_removed_units_are_what_kept_parts_were_made_from(data: strategies.DataObject) -> None:
    family = data.draw(strategies.sampled_from(FAMILIES))
    structure = structure_of(data.draw(models(family)).config)
    kinds = data.draw(
        strategies.sampled_from(
            [("head",), ("kv_group", "neuron"), ("attention", "ffn"), ("layer",), ("head", "ffn")]
        )
    )
    removed = {
        kind: tuple(
            tuple(sorted(data.draw(strategies.sets(strategies.integers(0, count - 1)))))
            if count
            else ()
            for count in structure.num_units(kind)
        )
        for kind in kinds
    }
    assert removed_units(structure, kinds, kept_parts(structure, removed)) == removed
