"""What a fault to plant is."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One small edit of the package."""

    name: str
    """What is wrong after it."""
    law: str
    """The law that it breaks."""
    file: str
    """Path inside the package."""
    old: str
    """Text that is there exactly once."""
    new: str
    """What it becomes."""
    caught_by: str
    """The check that must notice, as pytest names it without parameters: `path::test`."""
