"""Model families: where their heads are, how they load, and what they look like pruned.

Importing this package registers the pruned and the gated classes with transformers' auto classes,
and the way that models are stored in a few bits with its quantisers.
"""

import sentinel_research.models.agency as _agency  # noqa: F401
import sentinel_research.models.pruned as _pruned  # noqa: F401
import sentinel_research.models.quantizer as _quantizer  # noqa: F401
from sentinel_research.models.anatomy import ANATOMIES, anatomy_of, context_length
from sentinel_research.models.anatomy_schema import Anatomy
from sentinel_research.models.architectures import build
from sentinel_research.models.checkpoint import check_checkpoint, find_folder, save
from sentinel_research.models.kernels import check_comparable, kernels_of
from sentinel_research.models.layout import structure_of
from sentinel_research.models.load import (
    Loaded,
    load_baseline,
    load_stored,
    load_tokenizer,
    place,
    with_agency,
)
from sentinel_research.models.mamba import use_library, use_scan
from sentinel_research.models.stored_linear import held_bytes, num_parameters

__all__ = [
    "ANATOMIES",
    "Anatomy",
    "Loaded",
    "anatomy_of",
    "build",
    "check_checkpoint",
    "check_comparable",
    "context_length",
    "find_folder",
    "held_bytes",
    "kernels_of",
    "load_baseline",
    "load_stored",
    "load_tokenizer",
    "num_parameters",
    "place",
    "save",
    "structure_of",
    "use_library",
    "use_scan",
    "with_agency",
]
