"""The longest test starts first: two workers then finish together."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the README's examples to the front."""
    items.sort(key=lambda item: "test_readme" not in item.nodeid)
