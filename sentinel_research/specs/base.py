"""The base of all specs, and of all that is immutable."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, keyword-only, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )


class Spec(Frozen):
    """Base of all specs."""

    CHANGES_NO_NUMBER: ClassVar[frozenset[str]] = frozenset()
    """Fields that say what is done with the numbers, not how they come about."""
    YOUNGER: ClassVar[frozenset[str]] = frozenset()
    """Fields that older records know nothing of: at their default, the fingerprint is theirs."""

    def fingerprint(self) -> str:
        """Sixteen hex digits of the SHA-256 of the canonical JSON of what numbers depend on."""
        asked = _asked(self, self.model_dump(mode="json"))
        canonical = json.dumps(asked, sort_keys=True, allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _asked(value: Any, dumped: Any) -> Any:
    """What numbers depend on, of a value and its JSON: specs inside of it leave out their own."""
    if isinstance(value, Spec):
        return {
            name: _asked(getattr(value, name), one)
            for name, one in dumped.items()
            if not _counts_for_nothing(value, name)
        }
    if isinstance(value, Mapping):
        return {key: _asked(one, dumped[str(key)]) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_asked(one, other) for one, other in zip(value, dumped, strict=True)]
    return dumped


def _counts_for_nothing(spec: Spec, name: str) -> bool:
    if name in spec.CHANGES_NO_NUMBER:
        return True
    return name in spec.YOUNGER and getattr(spec, name) == type(spec).model_fields[name].default
