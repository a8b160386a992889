"""Faults of masks, mixers and recurrences: silent ones, under which logits are slightly wrong."""

from fault import Fault

_GATES = "pruning/gates.py"
_LAYOUT = "models/layout.py"
_MAMBA = "models/mamba.py"
_MIXER = "models/sentinel/resolvent_mixer.py"
_BY_FORMS = "tests/property/test_form_laws.py::"
_BY_DECODING = "tests/property/test_decoding_laws.py::"
_BY_MAMBA = "tests/models/test_mamba.py::"
_BY_MIXER = "tests/models/test_sentinel_decoding.py::"

MODEL_FAULTS = (
    Fault(
        "a head mask is off by one",
        "mask = removal (1)",
        _GATES,
        "float(unit in kept)",
        "float(unit - 1 in kept)",
        _BY_FORMS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "a mask is not applied in the cache path",
        "cached decoding = full pass (12)",
        _GATES,
        "        return (scale_units(args[0], self.gate, self.width),)",
        "        if args[0].shape[1] == 1:\n            return args\n"
        "        return (scale_units(args[0], self.gate, self.width),)",
        _BY_DECODING + "test_decoding_with_a_cache_equals_the_full_pass",
    ),
    Fault(
        "slices of q and k are swapped in GPT-2",
        "mask = removal (1)",
        _LAYOUT,
        "    return (torch.tensor(starts, dtype=torch.long)[:, None] + width).flatten()\n\n\n"
        "def head_columns(",
        "    if not projection.interleaved and len(parts) == 3:\n"
        "        number = len(queries)\n"
        "        starts[:number], starts[number : 2 * number] = (\n"
        "            starts[number : 2 * number],\n"
        "            starts[:number],\n"
        "        )\n"
        "    return (torch.tensor(starts, dtype=torch.long)[:, None] + width).flatten()\n\n\n"
        "def head_columns(",
        _BY_FORMS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "slices of q and k are swapped in families with interleaved heads",
        "mask = removal (1)",
        _LAYOUT,
        "for head in queries for p in range(len(parts))",
        "for head in queries for p in (1, 0, 2)",
        _BY_FORMS + "test_masked_removed_and_baked_models_give_the_same_logits",
    ),
    Fault(
        "a mixer leaks: the resolvent sees the next potential",
        "causality",
        _MIXER,
        "        hop = torch.sigmoid(hop + self.hop_bias)",
        "        potential = potential.roll(-1, 1)\n"
        "        hop = torch.sigmoid(hop + self.hop_bias)",
        _BY_MIXER + "test_changing_a_token_leaves_every_earlier_logit_bit_equal",
    ),
    Fault(
        "padding writes values into the resolvent's state",
        "a padded sequence gives what it gives alone",
        _MIXER,
        "            value = value * attention_mask[..., None].to(value.dtype)",
        "            pass",
        _BY_MIXER + "test_padded_sequence_gives_what_it_gives_alone",
    ),
    Fault(
        "the resolvent's state is lost between two pieces",
        "cached pieces = full pass",
        _MIXER,
        "state = None if past is None else past.state",
        "state = None",
        _BY_MIXER + "test_cached_pieces_equal_the_full_pass",
    ),
    Fault(
        "the resolvent's recursion forgets to square the hop",
        "the definition by the inverse matrix",
        "ops/resolvent/naive.py",
        "h - c * c * green",
        "h - c * green",
        "tests/ops/test_resolvent.py::"
        "test_row_and_green_are_those_of_the_inverse_of_every_leading_block",
    ),
    Fault(
        "the short convolution sees one token ahead",
        "causality",
        "ops/short_convolution.py",
        "image = pad(inputs.unsqueeze(2), (missing, 0))",
        "image = pad(inputs.unsqueeze(2), (missing - 1, 1))",
        "tests/ops/test_short_convolution.py::test_outputs_before_a_changed_input_are_bit_equal",
    ),
    Fault(
        "the bias of the time steps is zero (Mamba)",
        "logits are those of transformers",
        _MAMBA,
        "dt_bias=self.dt_proj.bias,",
        "dt_bias=torch.zeros_like(self.dt_proj.bias),",
        _BY_MAMBA + "test_logits_and_gradients_equal_transformers",
    ),
    Fault(
        "the scan starts anew behind a cache (Mamba)",
        "cached decoding = full pass",
        _MAMBA,
        "                state=state,\n",
        "                state=None,\n",
        _BY_MAMBA + "test_decoding_with_a_cache_equals_the_full_pass",
    ),
    Fault(
        "quantisation is skipped without a word",
        "a quantised model is on its grid",
        "quantisation/weights.py",
        "        weight.copy_(found)",
        "        pass",
        "tests/quantisation/test_weights.py::"
        "test_quantised_model_is_on_its_grid_saved_and_reloaded_too",
    ),
    Fault(
        "a scorer ignores its seed",
        "another seed draws another mask",
        "pruning/scorers/random.py",
        "torch.Generator().manual_seed(_seed_of(inputs.kind, inputs.seed))",
        "torch.Generator().manual_seed(_seed_of(inputs.kind, 0))",
        "tests/pruning/test_scorers.py::test_random_depends_on_the_seed_and_on_nothing_else",
    ),
)
