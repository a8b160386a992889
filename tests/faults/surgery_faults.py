"""Faults of surgery, masks and scores: silent ones, as they happen on transformers."""

from fault import Fault

_SURGERY = "pruning/surgery.py"
_LAYOUT = "models/layout.py"
_SHRINK = "models/shrink.py"
_ATTENTION = "models/attention.py"
_GATES = "pruning/gates.py"
_STRUCTURE = "structure.py"
_BY_CALIBRATE = "tests/pruning/test_calibrate.py::"
_BY_DECODING_LAWS = "tests/property/test_decoding_laws.py::"
_BY_FORM_LAWS = "tests/property/test_form_laws.py::"
_BY_GATES = "tests/pruning/test_gates.py::"
_BY_SAVING_LAWS = "tests/property/test_saving_laws.py::"
_BY_SCORERS_GRADIENTS = "tests/pruning/test_scorers_gradients.py::"
_BY_SELECTION_LAWS = "tests/property/test_selection_laws.py::"
_BY_SPARSEGPT = "tests/pruning/test_sparsegpt.py::"
_BY_SPARSIFY = "tests/pruning/test_sparsify.py::"
_BY_SURGERY = "tests/pruning/test_surgery.py::"

SURGERY_FAULTS = (
    Fault(
        "fused blocks read as interleaved heads",
        "mask = removal (1)",
        "models/anatomy.py",
        'inputs=(Projection("c_attn", _FUSED),)',
        'inputs=(Projection("c_attn", _FUSED, interleaved=True),)',
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "interleaved heads read as fused blocks (NeoX)",
        "mask = removal (1)",
        "models/anatomy.py",
        """            attention="attention",
            inputs=(Projection("query_key_value", _FUSED, interleaved=True),)""",
        """            attention="attention",
            inputs=(Projection("query_key_value", _FUSED),)""",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "ALiBi slopes are those of the first heads",
        "mask = removal (1)",
        _ATTENTION,
        "slopes[:, head] for head in self.kept_heads",
        "slopes[:, head] for head, _ in enumerate(self.kept_heads)",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "key/value rows of the wrong group",
        "mask = removal (1)",
        _SURGERY,
        "before.kv_heads(layer).index(group) for group in after.kv_heads(layer)",
        "(before.kv_heads(layer).index(group) + 1) % len(before.kv_heads(layer))"
        " for group in after.kv_heads(layer)",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "unequal groups repeat the first group",
        "mask = removal (1)",
        _ATTENTION,
        "states[:, group : group + 1].expand",
        "states[:, :1].expand",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "unequal groups treated as equal",
        "mask = removal (1)",
        _SHRINK,
        "sizes if is_ragged else ()",
        "()",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "stale group size, seen only with padding",
        "mask = removal, padded (1)",
        _SHRINK,
        "1 if is_ragged else sizes[0]",
        "1 if is_ragged else structure.group_size",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "stale number of heads",
        "mask = removal (1)",
        _SHRINK,
        "        setattr(attention, name, len(parts.heads))",
        "        setattr(attention, name, len(parts.heads) // 2 or 1)",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "head order reversed in the output projection",
        "mask = removal (1)",
        _SURGERY,
        "row.output_axis, head_columns(before, queries))",
        "row.output_axis, head_columns(before, queries[::-1]))",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "biases of the first heads kept",
        "mask = removal (1)",
        _SURGERY,
        '                _select(state, f"{path}.bias", 0, rows)',
        '                _select(state, f"{path}.bias", 0, torch.arange(len(rows)))',
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "neuron biases of the first neurons kept",
        "mask = removal (1)",
        _SURGERY,
        '_select(state, f"{path}.bias", 0, neurons)',
        '_select(state, f"{path}.bias", 0, torch.arange(len(neurons)))',
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "other neurons in the output projection than in the input ones",
        "mask = removal (1)",
        _SURGERY,
        '_select(state, f"{output}.weight", row.output_axis, neurons)',
        '_select(state, f"{output}.weight", row.output_axis, neurons.flip(0))',
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "a layer without heads loses its output bias",
        "mask = removal (1)",
        _ATTENTION,
        "return out if self.bias is None else out + self.bias",
        "return out",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "an empty BLOOM layer drops the residual stream",
        "mask = removal (1)",
        _ATTENTION,
        "(out if residual is None else residual + out), None",
        "out, None",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "an empty layer does not count positions in the cache",
        "cached decoding = full pass (12)",
        _ATTENTION,
        "            cache.update(placeholder, placeholder, self.layer_idx)  # [B, 1, T, 1]",
        "            pass",
        _BY_DECODING_LAWS + "test_decoding_with_a_cache_equals_the_full_pass",
    ),
    Fault(
        "an empty layer counts one position too many heads wide",
        "cache stays small (12)",
        _ATTENTION,
        "hidden_states.new_zeros(*hidden_states.shape[:2], 1).unsqueeze(1)",
        "hidden_states.new_zeros(*hidden_states.shape[:2], 1).unsqueeze(1).repeat(1, 2, 1, 1)",
        _BY_DECODING_LAWS + "test_decoding_with_a_cache_equals_the_full_pass",
    ),
    Fault(
        "a removed block loses a norm that the residual stream runs through",
        "mask = removal (1)",
        _LAYOUT,
        "return stays is not None and getattr(config, stays[0]) == stays[1]",
        "return False",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "blocks that are gone come back on reload",
        "reload is bit-equal (14)",
        _LAYOUT,
        'skipped = getattr(layer, "skip", None) or []',
        "skipped = []",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "kept neurons are forgotten on reload",
        "reload is bit-equal (14)",
        _LAYOUT,
        'neurons = getattr(layer, "kept_neurons", None)',
        "neurons = None",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "the mask scales the bias too",
        "mask = removal (1)",
        _GATES,
        "        return (scale_units(args[0], self.gate, self.width),)",
        "        return (scale_units(args[0], self.gate.roll(1, -1), self.width),)",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "the block's mask leaves its bias",
        "mask = removal (1)",
        _GATES,
        "handles.append(output.register_forward_hook(_BlockGate(gate)))",
        "handles.append(output.register_forward_pre_hook(lambda _m, a: (a[0] * gate,)))",
        _BY_FORM_LAWS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "gates of one sequence act on the next",
        "gates act per sequence (17)",
        _GATES,
        "(by_sequence * gate[:, None, :, None])",
        "(by_sequence * gate.roll(1, 0)[:, None, :, None])",
        _BY_GATES + "test_gate_of_a_sequence_acts_on_that_sequence_alone",
    ),
    Fault(
        "parameters of key/value heads are counted once",
        "exact parameter count (3)",
        _STRUCTURE,
        "return 2 * self.head_dim * (self.hidden_size + self.attention_input_bias)",
        "return self.head_dim * (self.hidden_size + self.attention_input_bias)",
        _BY_FORM_LAWS + "test_parameters_and_operations_fall_by_the_predicted_numbers",
    ),
    Fault(
        "attention products are not counted as operations",
        "exact FLOP count (24)",
        _STRUCTURE,
        "head = 4 * self.head_dim * (self.hidden_size + sequence_length)",
        "head = 4 * self.head_dim * self.hidden_size",
        _BY_FORM_LAWS + "test_parameters_and_operations_fall_by_the_predicted_numbers",
    ),
    Fault(
        "the budget is exceeded by one unit",
        "budget met within one unit (23)",
        "pruning/select.py",
        "    return list(order[:low]), cost",
        "    low = min(low + 1, len(order))\n    return list(order[:low]), cost",
        _BY_SELECTION_LAWS + "test_budget_is_met_from_below_within_one_unit",
    ),
    Fault(
        "ties are broken by the last index",
        "nesting, ties by index (4)",
        "pruning/select.py",
        "unit.layer, unit.local",
        "unit.layer, -unit.local",
        _BY_SELECTION_LAWS
        + "test_exactly_the_least_important_go_and_ties_go_by_kind_layer_and_index",
    ),
    Fault(
        "frozen parameters wake up",
        "what carries over",
        "models/rebuild.py",
        "parameter.requires_grad_(name not in frozen)",
        "parameter.requires_grad_(True)",
        _BY_SURGERY + "test_removal_keeps_training_flags_and_frozen_parameters",
    ),
    Fault(
        "baked heads keep their values",
        "dead heads stay dead (16)",
        "pruning/baking.py",
        '_zero(module.get_parameter("weight"), row.input_axis, values)',
        "pass",
        _BY_SAVING_LAWS + "test_baked_model_is_a_stock_checkpoint_that_shrinks_to_the_removed_one",
    ),
    Fault(
        "baked neurons keep their input biases",
        "dead neurons stay dead (16)",
        "pruning/baking.py",
        "        if structure.ffn_input_bias:",
        "        if False:",
        _BY_SAVING_LAWS + "test_baked_model_is_a_stock_checkpoint_that_shrinks_to_the_removed_one",
    ),
    Fault(
        "entropy counts padding",
        "padding never changes a score (17)",
        "models/entropy.py",
        "    rows = is_text[:, None, 1:]",
        "    rows = torch.ones_like(is_text[:, None, 1:])",
        _BY_CALIBRATE + "test_what_stands_at_padding_does_not_change_a_statistic",
    ),
    Fault(
        "gradients of different sequences cancel",
        "score per sequence (17)",
        "pruning/meters/gradients.py",
        "torch.stack([wide, wide.abs(), wide.square()], dim=1)",
        "torch.stack([wide, wide.mean(0).abs().expand_as(wide), wide.square()], dim=1)",
        _BY_CALIBRATE + "test_statistics_of_two_texts_add_up",
    ),
    Fault(
        "signed Taylor has the wrong sign",
        "gate gradient = signed Taylor (10)",
        "pruning/scorers/gradients.py",
        "return [-layer for layer in _mean(inputs, 0)]",
        "return _mean(inputs, 0)",
        _BY_SCORERS_GRADIENTS + "test_signed_taylor_is_minus_the_mean_gradient",
    ),
    Fault(
        "Wanda compares weights across rows",
        "row-wise comparison (21)",
        "pruning/sparsify.py",
        'per="row" if spec.scope == "local" else "matrix"',
        'per="matrix"',
        _BY_SPARSIFY + "test_smallest_weights_of_an_output_row_go",
    ),
    Fault(
        "SparseGPT forgets the lazy update",
        "exact solver (22)",
        "pruning/sparsegpt.py",
        "        solved[:, block.stop :] -= errors @ factor[block, block.stop :]",
        "        pass",
        _BY_SPARSEGPT + "test_sparsegpt_is_the_slow_form_for_a_fraction",
    ),
)
