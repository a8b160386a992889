"""The base of all specs, and of all that is immutable."""

import hashlib
import json
from typing import ClassVar

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
    """Fields that older records know nothing of: where one is null, the fingerprint is theirs."""

    def fingerprint(self) -> str:
        """Sixteen hex digits of the SHA-256 of the canonical JSON of what numbers depend on."""
        absent = {name for name in self.YOUNGER if getattr(self, name) is None}
        asked = self.model_dump(mode="json", exclude=set(self.CHANGES_NO_NUMBER) | absent)
        canonical = json.dumps(asked, sort_keys=True, allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
