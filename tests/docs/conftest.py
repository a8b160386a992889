"""Text to recover on, as tests of recoveries have it."""

from tests.recoveries.conftest import text

__all__ = ["text"]
