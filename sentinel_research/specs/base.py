"""The base of all specs, and of all that is immutable."""

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, keyword-only, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )


class Spec(Frozen):
    """Base of all specs."""

    def fingerprint(self) -> str:
        """Sixteen hex digits of the SHA-256 of the canonical JSON of this spec."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
