"""What types a device computes in, and refusal of those that it lacks."""

import platform

import torch

from sentinel_research.errors import UsageError

# torch asks for these by name, and an Arm processor's capabilities by another function
_BFLOAT16_ON_ARM = "bf16"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 by itself, and not by emulation."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).major >= 8
    if platform.machine().lower() in ("aarch64", "arm64"):
        return any(
            _BFLOAT16_ON_ARM in name and bool(has)
            for name, has in torch.cpu.get_capabilities().items()
        )
    return bool(torch.cpu._is_avx512_bf16_supported())


def is_emulated(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a processor computes a short type by way of float32: right, and several times slower.

    A CUDA device computes float16 by itself, and bfloat16 that it lacks is refused.
    """
    if device.type != "cpu":
        return False
    if dtype == torch.bfloat16:
        return not computes_bfloat16(device)
    return dtype == torch.float16 and not bool(torch.cpu._is_amx_fp16_supported())


def check_bfloat16(device: torch.device, asked: str) -> None:
    """Refuse bfloat16 on a CUDA device that lacks it.

    Args:
        device: A processor emulates it, which is slow and right.
        asked: What needs it, for the message: `bits=16`.

    Raises:
        UsageError: if the device has none.
    """
    if device.type != "cuda" or computes_bfloat16(device):
        return
    name = torch.cuda.get_device_name(device)
    major, minor = torch.cuda.get_device_capability(device)
    raise UsageError(
        f"{asked} computes in bfloat16, and {device} ({name}, compute capability {major}.{minor}) "
        "has none; 8.0 is the first that has",
        "take dtype=float16, or bits=32 (float32)",
    )
