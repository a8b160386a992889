"""Check a safetensors file without reading its tensors.

A copy that stopped early, or a Git LFS pointer in place of the weights, is found by comparing the
file's length with what its header promises.

Reference: format, https://huggingface.co/docs/safetensors/index#format.
"""

import json
from pathlib import Path

from sentinel_research.errors import CheckpointError

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000


def check_safetensors(path: Path) -> None:
    """Compare a safetensors file's length with its header.

    Args:
        path: The file.

    Raises:
        CheckpointError: if the file is shorter or longer than its header says, or has none.
    """
    num_bytes = path.stat().st_size
    hint = "Copy or download the file again."
    with path.open("rb") as file:
        prefix = file.read(_LENGTH_BYTES)
        header_bytes = int.from_bytes(prefix, "little")
        if len(prefix) < _LENGTH_BYTES or header_bytes > min(num_bytes, _MAX_HEADER_BYTES):
            raise CheckpointError(
                f"{path} is not a safetensors file, or was cut off: {num_bytes:,} bytes", hint
            )
        try:
            header = json.loads(file.read(header_bytes))
            end = max(
                (
                    entry["data_offsets"][1]
                    for name, entry in header.items()
                    if name != "__metadata__"
                ),
                default=0,
            )
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"{path} has a damaged safetensors header ({num_bytes:,} bytes): {error}", hint
            ) from error
    expected = _LENGTH_BYTES + header_bytes + end
    if num_bytes != expected:
        raise CheckpointError(
            f"{path} has {num_bytes:,} bytes, its header promises {expected:,}", hint
        )
