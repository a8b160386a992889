"""A projection whose weights are held in 4, 8 or 16 bits.

While it is loaded its numbers are buffers in a plain order, and so they are in files. On the CPU
those that a kernel of FBGEMM reads are then packed for it, and the buffers are freed: nothing is
held twice. `state_dict` unpacks, `to` another device does too.

Glossary: `O` outputs, `I` inputs, `G` groups of an output's inputs.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sentinel_research.errors import UsageError
from sentinel_research.ops.low_bits import (
    PackedInt8,
    dequantised,
    half_width,
    pack_float16,
    rounded_rows,
    times_float16,
    times_int8,
    times_stored,
    unpack_float16,
)

Activations = Literal["float", "int8"]
_STORED, _STEPS = "stored", "steps"


class StoredLinear(nn.Module):
    """A projection of stored weights; it takes and gives what `nn.Linear` does.

    Args:
        num_inputs: `I`.
        num_outputs: `O`.
        bits: 16 (float16), 8 or 4 (whole numbers).
        group_size: Inputs of an output that share a step, for 8 and 4 bits; null: all of them.
        activations: `int8`: they are rounded row by row, see `ops.low_bits`; for 8 bits.
        has_bias: Whether there is one, in the type of the model.
        device: Of the tensors, which are not initialised.
        dtype: Of the bias.
    """

    stored: Tensor | None
    steps: Tensor | None

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        bits: Literal[4, 8, 16],
        group_size: int | None = None,
        activations: Activations = "float",
        has_bias: bool = True,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = num_inputs, num_outputs
        self.bits, self.activations = bits, activations
        self.group_size = min(group_size or num_inputs, num_inputs)
        groups = -(-num_inputs // self.group_size)
        width = groups * half_width(num_inputs, self.group_size) if bits == 4 else num_inputs
        kind = {4: torch.uint8, 8: torch.int8, 16: torch.float16}[bits]
        stored = torch.empty(num_outputs, width, dtype=kind, device=device)
        self.register_buffer(_STORED, stored)
        steps = None
        if bits < 16:
            steps = torch.empty(num_outputs, groups, dtype=torch.float32, device=device)
        self.register_buffer(_STEPS, steps)
        bias = torch.empty(num_outputs, device=device, dtype=dtype) if has_bias else None
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self._packed: Any = None

    def extra_repr(self) -> str:
        """What `print(model)` says."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}, {self.kernel}"

    @property
    def kernel(self) -> str:
        """What computes the product, in words."""
        if self.bits == 16:
            where = "FBGEMM" if self._packed is not None else "torch, widened for each product"
            return f"float16 weights, float activations ({where})"
        if self.activations == "int8":
            where = "FBGEMM" if self._packed is not None else "torch"
            return f"int8 weights, activations of 7 bits on a grid for each token ({where})"
        return f"int{self.bits} weights, float activations (own kernel, or torch on widened parts)"

    def pack(self) -> None:
        """Free the buffers where a kernel wants the weights in an order of its own."""
        stored = self.stored
        if self._packed is not None or stored is None or stored.device.type != "cpu":
            return
        if self.bits == 16:
            self._packed = pack_float16(stored)
        elif self.activations == "int8":
            assert self.steps is not None  # 8 bits have them
            self._packed = PackedInt8(stored, self.steps)
        else:
            return
        # both keep their place in the order of a state dict
        self.stored = None

    def unpacked(self) -> Tensor:
        """The stored numbers in the order that files have, `[O, I]`, or `[O, bytes]` of 4 bits."""
        if self._packed is None:
            assert self.stored is not None  # where it is not packed
            return self.stored
        return self._packed.numbers() if self.bits == 8 else unpack_float16(self._packed)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What the module computes with, under the names that files have, in their order."""
        yield _STORED, self.unpacked()
        if self.steps is not None:
            yield _STEPS, self.steps
        if self.bias is not None:
            yield "bias", self.bias

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights as they are held, without the bias.

        FBGEMM's layout is opaque: counted are its numbers, and the sums and zeros it keeps for
        every output; what it adds to fill its last block is not.
        """
        if self._packed is None:
            held = [self.stored, self.steps]
            return sum(one.numel() * one.element_size() for one in held if one is not None)
        numbers = self.in_features * self.out_features * self.bits // 8
        if self.bits == 16:
            return numbers
        # its own sums, zeros and steps, and ours: four bytes each
        return numbers + 5 * 4 * self.out_features

    @property
    def weight(self) -> Tensor:
        """The weights `[O, I]` that the numbers stand for, in float32; made anew at every call."""
        stored = self.unpacked()
        if self.steps is None:
            return stored.float()
        return dequantised(stored, self.steps, self.in_features, self.group_size)

    def forward(self, x: Tensor) -> Tensor:
        """Project.

        Args:
            x: `[..., I]`.

        Returns:
            `[..., O]` in the type of `x`.

        Raises:
            UsageError: if gradients are asked for.
        """
        if torch.is_grad_enabled() and x.requires_grad:
            raise UsageError(
                f"weights of {self.bits} bits are stored for computing, and have no gradients",
                "train or score the model in float32 or bfloat16, and store it afterwards",
            )
        rows = x.reshape(-1, self.in_features)
        return self._product(rows).to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _product(self, rows: Tensor) -> Tensor:
        if self._packed is None:
            return self._plain_product(rows)
        if self.bits == 8:
            return times_int8(rows, self._packed, self.bias)
        found = times_float16(rows, self._packed)
        return found if self.bias is None else found.add_(self.bias)

    def _plain_product(self, rows: Tensor) -> Tensor:
        assert self.stored is not None  # where it is not packed
        if self.steps is None:
            return nn.functional.linear(rows, self.stored.to(rows.dtype), self.bias)
        if self.activations == "int8":
            # without the kernel the same numbers, only slower
            rows = rounded_rows(rows.float())
        found = times_stored(rows, self.stored, self.steps, self.group_size)
        return found if self.bias is None else found.add_(self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "StoredLinear":
        """Move to another device; the stored numbers and their steps keep their types."""
        if self._packed is not None:
            self.stored, self._packed = self.unpacked(), None
        own = {name: getattr(self, name) for name in (_STORED, _STEPS)}
        for name in own:
            setattr(self, name, None)
        super()._apply(fn, recurse)
        for name, tensor in own.items():
            setattr(self, name, None if tensor is None else _moved(tensor, fn))
        self.pack()
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._packed is not None:
            destination[prefix + _STORED] = self.unpacked()


def _moved(tensor: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    found = fn(tensor)
    return found if found.dtype == tensor.dtype else tensor.to(found.device)


def stored_projections(model: nn.Module) -> dict[str, StoredLinear]:
    """The projections of a model that are stored small, by their names."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, StoredLinear)
    }


def held_bytes(model: nn.Module) -> int:
    """Bytes of all weights that a model holds: parameters, buffers and packed ones, tied once."""
    found = sum(one.weight_bytes for one in stored_projections(model).values())
    apart = {id(t) for one in stored_projections(model).values() for t in one.buffers()}
    seen: set[tuple[Any, int]] = set()
    for tensor in (*model.parameters(), *model.buffers()):
        place = (tensor.device, tensor.data_ptr())
        if id(tensor) in apart or place in seen:
            continue
        seen.add(place)
        found += tensor.numel() * tensor.element_size()
    return found


def num_parameters(model: nn.Module) -> int:
    """Parameters of a model, stored weights among them: as many as it had before they were."""
    own = sum(one.numel() for one in model.parameters())
    return own + sum(
        one.in_features * one.out_features for one in stored_projections(model).values()
    )
