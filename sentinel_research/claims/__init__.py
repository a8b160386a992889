"""The ledger of claims: each has a statistic, a region in which it holds, and a verdict."""

from sentinel_research.claims.judge import judge
from sentinel_research.claims.schema import Claim, Judgement, Verdict
from sentinel_research.claims.store import DEFAULT_FOLDER, names, read_claim, write_judgement

__all__ = [
    "DEFAULT_FOLDER",
    "Claim",
    "Judgement",
    "Verdict",
    "judge",
    "names",
    "read_claim",
    "write_judgement",
]
