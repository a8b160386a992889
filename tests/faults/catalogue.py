"""Faults to plant: silent ones, as they happen in surgery on transformers."""

from typing import NamedTuple

_LAWS = (
    "tests/property/test_form_laws.py",
    "tests/property/test_decoding_laws.py",
    "tests/property/test_saving_laws.py",
    "tests/property/test_permutation_laws.py",
    "tests/property/test_training_laws.py",
)


class Fault(NamedTuple):
    """One small edit of the package."""

    name: str
    """What is wrong after it."""
    law: str
    """The law that it breaks."""
    file: str
    """Path inside the package."""
    old: str
    """Text that is there exactly once."""
    new: str
    """What it becomes."""
    tests: tuple[str, ...] = _LAWS
    """Tests that must notice."""


SELF_CHECK = Fault(
    "the self-check is off",
    "",
    "pruning/surgery.py",
    "    inputs = probe_inputs(model)\n    visible",
    "    return 0.0\n    inputs = probe_inputs(model)\n    visible",
)
_SURGERY = "pruning/surgery.py"
_LAYOUT = "models/layout.py"
_SHRINK = "models/shrink.py"
_ATTENTION = "models/attention.py"
_GATES = "pruning/gates.py"
_STRUCTURE = "structure.py"
_PRUNING = ("tests/pruning", "tests/property/test_scorer_laws.py")

FAULTS = (
    Fault(
        "fused blocks read as interleaved heads",
        "mask = removal (1)",
        "models/anatomy.py",
        'inputs=(Projection("c_attn", _FUSED),)',
        'inputs=(Projection("c_attn", _FUSED, interleaved=True),)',
    ),
    Fault(
        "interleaved heads read as fused blocks (NeoX)",
        "mask = removal (1)",
        "models/anatomy.py",
        """            attention="attention",
            inputs=(Projection("query_key_value", _FUSED, interleaved=True),)""",
        """            attention="attention",
            inputs=(Projection("query_key_value", _FUSED),)""",
    ),
    Fault(
        "ALiBi slopes are those of the first heads",
        "mask = removal (1)",
        _ATTENTION,
        "slopes[:, head] for head in self.kept_heads",
        "slopes[:, head] for head, _ in enumerate(self.kept_heads)",
    ),
    Fault(
        "key/value rows of the wrong group",
        "mask = removal (1)",
        _SURGERY,
        "before.kv_heads(layer).index(group) for group in after.kv_heads(layer)",
        "(before.kv_heads(layer).index(group) + 1) % len(before.kv_heads(layer))"
        " for group in after.kv_heads(layer)",
    ),
    Fault(
        "unequal groups repeat the first group",
        "mask = removal (1)",
        _ATTENTION,
        "states[:, group : group + 1].expand",
        "states[:, :1].expand",
    ),
    Fault(
        "unequal groups treated as equal",
        "mask = removal (1)",
        _SHRINK,
        "sizes if is_ragged else ()",
        "()",
    ),
    Fault(
        "stale group size, seen only with padding",
        "mask = removal, padded (1)",
        _SHRINK,
        "1 if is_ragged else sizes[0]",
        "1 if is_ragged else structure.group_size",
    ),
    Fault(
        "stale number of heads",
        "mask = removal (1)",
        _SHRINK,
        "        setattr(attention, name, len(parts.heads))",
        "        setattr(attention, name, len(parts.heads) // 2 or 1)",
    ),
    Fault(
        "head order reversed in the output projection",
        "mask = removal (1)",
        _SURGERY,
        "row.output_axis, head_columns(before, queries))",
        "row.output_axis, head_columns(before, queries[::-1]))",
    ),
    Fault(
        "biases of the first heads kept",
        "mask = removal (1)",
        _SURGERY,
        '                _select(state, f"{path}.bias", 0, rows)',
        '                _select(state, f"{path}.bias", 0, torch.arange(len(rows)))',
    ),
    Fault(
        "neuron biases of the first neurons kept",
        "mask = removal (1)",
        _SURGERY,
        '_select(state, f"{path}.bias", 0, neurons)',
        '_select(state, f"{path}.bias", 0, torch.arange(len(neurons)))',
    ),
    Fault(
        "other neurons in the output projection than in the input ones",
        "mask = removal (1)",
        _SURGERY,
        '_select(state, f"{output}.weight", row.output_axis, neurons)',
        '_select(state, f"{output}.weight", row.output_axis, neurons.flip(0))',
    ),
    Fault(
        "a layer without heads loses its output bias",
        "mask = removal (1)",
        _ATTENTION,
        "return out if self.bias is None else out + self.bias",
        "return out",
    ),
    Fault(
        "an empty BLOOM layer drops the residual stream",
        "mask = removal (1)",
        _ATTENTION,
        "(out if residual is None else residual + out), None",
        "out, None",
    ),
    Fault(
        "an empty layer does not count positions in the cache",
        "cached decoding = full pass (12)",
        _ATTENTION,
        "            cache.update(placeholder, placeholder, self.layer_idx)  # [B, 1, T, 1]",
        "            pass",
    ),
    Fault(
        "an empty layer counts one position too many heads wide",
        "cache stays small (12)",
        _ATTENTION,
        "hidden_states.new_zeros(*hidden_states.shape[:2], 1).unsqueeze(1)",
        "hidden_states.new_zeros(*hidden_states.shape[:2], 1).unsqueeze(1).repeat(1, 2, 1, 1)",
    ),
    Fault(
        "a removed block loses a norm that the residual stream runs through",
        "mask = removal (1)",
        _LAYOUT,
        "return stays is not None and getattr(config, stays[0]) == stays[1]",
        "return False",
    ),
    Fault(
        "blocks that are gone come back on reload",
        "reload is bit-equal (14)",
        _LAYOUT,
        'skipped = getattr(layer, "skip", None) or []',
        "skipped = []",
    ),
    Fault(
        "kept neurons are forgotten on reload",
        "reload is bit-equal (14)",
        _LAYOUT,
        'neurons = getattr(layer, "kept_neurons", None)',
        "neurons = None",
    ),
    Fault(
        "the mask scales the bias too",
        "mask = removal (1)",
        _GATES,
        "        return (scale_units(args[0], self.gate, self.width),)",
        "        return (scale_units(args[0], self.gate.roll(1, -1), self.width),)",
    ),
    Fault(
        "the block's mask leaves its bias",
        "mask = removal (1)",
        _GATES,
        "handles.append(output.register_forward_hook(_BlockGate(gate)))",
        "handles.append(output.register_forward_pre_hook(lambda _m, a: (a[0] * gate,)))",
    ),
    Fault(
        "gates of one sequence act on the next",
        "gates act per sequence (17)",
        _GATES,
        "(by_sequence * gate[:, None, :, None])",
        "(by_sequence * gate.roll(1, 0)[:, None, :, None])",
        _PRUNING,
    ),
    Fault(
        "parameters of key/value heads are counted once",
        "exact parameter count (3)",
        _STRUCTURE,
        "return 2 * self.head_dim * (self.hidden_size + self.attention_input_bias)",
        "return self.head_dim * (self.hidden_size + self.attention_input_bias)",
    ),
    Fault(
        "attention products are not counted as operations",
        "exact FLOP count (24)",
        _STRUCTURE,
        "head = 4 * self.head_dim * (self.hidden_size + sequence_length)",
        "head = 4 * self.head_dim * self.hidden_size",
    ),
    Fault(
        "the budget is exceeded by one unit",
        "budget met within one unit (23)",
        "pruning/select.py",
        "    return list(order[:low]), cost",
        "    low = min(low + 1, len(order))\n    return list(order[:low]), cost",
        ("tests/property/test_selection_laws.py",),
    ),
    Fault(
        "ties are broken by the last index",
        "nesting, ties by index (4)",
        "pruning/select.py",
        "unit.layer, unit.local",
        "unit.layer, -unit.local",
        ("tests/property/test_selection_laws.py",),
    ),
    Fault(
        "frozen parameters wake up",
        "what carries over",
        _SURGERY,
        "parameter.requires_grad_(name not in frozen)",
        "parameter.requires_grad_(True)",
        ("tests/pruning",),
    ),
    Fault(
        "baked heads keep their values",
        "dead heads stay dead (16)",
        "pruning/baking.py",
        '_zero(module.get_parameter("weight"), row.input_axis, values)',
        "pass",
    ),
    Fault(
        "baked neurons keep their input biases",
        "dead neurons stay dead (16)",
        "pruning/baking.py",
        "        if structure.ffn_input_bias:",
        "        if False:",
    ),
    Fault(
        "entropy counts padding",
        "padding never changes a score (17)",
        "pruning/meters/attention.py",
        "    rows = is_text[:, None, 1:]",
        "    rows = torch.ones_like(is_text[:, None, 1:])",
        _PRUNING,
    ),
    Fault(
        "gradients of different sequences cancel",
        "score per sequence (17)",
        "pruning/meters/gradients.py",
        "torch.stack([wide, wide.abs(), wide.square()], dim=1)",
        "torch.stack([wide, wide.mean(0).abs().expand_as(wide), wide.square()], dim=1)",
        _PRUNING,
    ),
    Fault(
        "signed Taylor has the wrong sign",
        "gate gradient = signed Taylor (10)",
        "pruning/scorers/gradients.py",
        "return [-layer for layer in _mean(inputs, 0)]",
        "return _mean(inputs, 0)",
        _PRUNING,
    ),
    Fault(
        "Wanda compares weights across rows",
        "row-wise comparison (21)",
        "pruning/sparsify.py",
        'per="row" if spec.scope == "local" else "matrix"',
        'per="matrix"',
        _PRUNING,
    ),
    Fault(
        "SparseGPT forgets the lazy update",
        "exact solver (22)",
        "pruning/sparse.py",
        "        solved[:, block.stop :] -= errors @ factor[block, block.stop :]",
        "        pass",
        ("tests/pruning/test_sparsegpt.py",),
    ),
)
