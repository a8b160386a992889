"""What a fault to plant is."""

from typing import NamedTuple

LAWS = (
    "tests/property/test_form_laws.py",
    "tests/property/test_decoding_laws.py",
    "tests/property/test_saving_laws.py",
    "tests/property/test_permutation_laws.py",
    "tests/property/test_training_laws.py",
)


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
    tests: tuple[str, ...] = LAWS
    """Tests that must notice."""
