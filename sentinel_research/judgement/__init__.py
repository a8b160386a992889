"""Two or more measured models, judged against a reference by their samples: `sentinel compare`."""

from sentinel_research.judgement.compare import compare
from sentinel_research.judgement.schema import Comparison, Evidence, Finding

__all__ = ["Comparison", "Evidence", "Finding", "compare"]
