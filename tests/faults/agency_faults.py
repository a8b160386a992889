"""Faults of gates, states and paths: silent ones, under which a model runs and is wrong."""

from fault import Fault

_GATE = "models/agency/gate.py"
_STATES = "models/agency/states.py"
_STATISTICS = "models/agency/statistics.py"
_BASELINE = "models/agency/baseline.py"
_BY_AGENCY = "tests/training/test_agency.py::"
_BY_AGENCY_GATE = "tests/models/test_agency_gate.py::"
_BY_AGENCY_MODELS = "tests/models/test_agency_models.py::"
_BY_AGENCY_PATHS = "tests/models/test_agency_paths.py::"
_BY_AGENCY_STATES = "tests/models/test_agency_states.py::"
_BY_WITHDRAWN = "tests/pruning/test_withdrawn.py::"

AGENCY_FAULTS = (
    Fault(
        "input gates rest at one half",
        "identity at rest",
        _GATE,
        "return 2 * torch.sigmoid(",
        "return torch.sigmoid(",
        _BY_AGENCY_GATE + "test_gate_at_rest_changes_no_bit_in_any_type",
    ),
    Fault(
        "hard concrete gates are not clipped",
        "identity at rest",
        _GATE,
        "+ GAMMA).clamp(0, 1)",
        "+ GAMMA)",
        _BY_AGENCY_GATE + "test_gate_at_rest_changes_no_bit_in_any_type",
    ),
    Fault(
        "hard concrete gates are noisy in evaluation",
        "evaluation twice gives the same bits",
        _GATE,
        "        if self.training:\n            uniform",
        "        if True:\n            uniform",
        _BY_AGENCY_GATE + "test_gate_at_rest_changes_no_bit_in_any_type",
    ),
    Fault(
        "input gates see the mean over the batch",
        "other samples change no bit",
        _GATE,
        "F.linear(layer_input, self.weight",
        "F.linear(layer_input.mean(dim=0, keepdim=True), self.weight",
        _BY_AGENCY_MODELS + "test_other_samples_change_no_bit",
    ),
    Fault(
        "input gates see the mean over the sequence",
        "the future changes no bit",
        _GATE,
        "F.linear(layer_input, self.weight",
        "F.linear(layer_input.mean(dim=1, keepdim=True), self.weight",
        _BY_AGENCY_MODELS + "test_later_tokens_change_no_bit_of_earlier_outputs",
    ),
    Fault(
        "a forward pass moves the running means",
        "forward changes no buffer",
        _GATE,
        "        gate = self.values(len(projection_input), layer_input) * self.multiplier\n",
        "        gate = self.values(len(projection_input), layer_input) * self.multiplier\n"
        "        self.usage.add_(0.1)\n",
        _BY_AGENCY_MODELS + "test_evaluation_twice_gives_the_same_bits_and_changes_no_buffer",
    ),
    Fault(
        "states move in evaluation",
        "frozen in evaluation",
        _GATE,
        "        if not self.training:\n            raise",
        "        if False:\n            raise",
        _BY_AGENCY_GATE + "test_update_is_refused_in_evaluation",
    ),
    Fault(
        "the policy overrides withdrawn consent",
        "consent is a lock",
        _STATES,
        "states.masked_fill(locks == Lock.WITHDRAWN, HeadState.WITHDRAWN)",
        "states.clone()",
        _BY_AGENCY_STATES + "test_no_statistics_override_a_lock",
    ),
    Fault(
        "a held head is withdrawn",
        "consent is a lock",
        _STATES,
        "return found.masked_fill(locks == Lock.ACTIVE, HeadState.ACTIVE)",
        "return found",
        _BY_AGENCY_STATES + "test_no_statistics_override_a_lock",
    ),
    Fault(
        "states have no hysteresis",
        "hysteresis",
        _STATES,
        "torch.where(states == state, stay, enter)",
        "enter",
        _BY_AGENCY_STATES + "test_between_the_thresholds_a_head_stays_what_it_is",
    ),
    Fault(
        "alignment has the other sign",
        "alignment is the negative gradient of a gate",
        _STATISTICS,
        "-product / norms",
        "product / norms",
        _BY_AGENCY + "test_alignment_is_the_normalised_gradient_of_a_gate",
    ),
    Fault(
        "usage counts padding",
        "padding enters no statistic",
        _STATISTICS,
        "text = (offered.float() * is_text[..., None])",
        "text = offered.float()",
        _BY_AGENCY + "test_padding_enters_no_statistic",
    ),
    Fault(
        "usage multiplies the wrong side of the projection",
        "usage is a share of norms",
        "pruning/head_statistics.py",
        "weight if place.rows_first else weight.T",
        "weight.T if place.rows_first else weight",
        _BY_AGENCY + "test_alignment_is_the_normalised_gradient_of_a_gate",
    ),
    Fault(
        "statistics are of the multiplied heads",
        "a withdrawn head can return",
        "pruning/head_statistics.py",
        "self.offered = gate.offered(*args, **kwargs)",
        "self.offered = output.detach()",
        _BY_AGENCY + "test_statistics_do_not_depend_on_the_multiplier_of_the_heads_own_layer",
    ),
    Fault(
        "removed heads leave the gates of the first heads",
        "mask = removal (1)",
        "pruning/surgery.py",
        "_select(state, key, 0, torch.tensor(queries, dtype=torch.long))",
        "_select(state, key, 0, torch.arange(len(queries)))",
        _BY_WITHDRAWN + "test_removing_withdrawn_heads_gives_the_logits_of_multiplier_zero",
    ),
    Fault(
        "a mask on a gated model is saved without the mask",
        "a mask is never lost",
        "models/hooks.py",
        "if lost or output",
        "if output",
        _BY_AGENCY_MODELS + "test_masked_model_gets_no_gates",
    ),
    Fault(
        "skip connections come from the layer below",
        "layer L-1-i receives layer i",
        "models/agency/skips.py",
        "layers[len(layers) - 1 - index]",
        "layers[len(layers) // 2 + index]",
        _BY_AGENCY_PATHS + "test_layer_receives_what_its_mirror_image_read",
    ),
    Fault(
        "the baseline's cache is the model's",
        "decoding equals the whole pass",
        _BASELINE,
        "index + num_layers)",
        "index)",
        _BY_AGENCY_PATHS + "test_paths_at_the_start_change_no_bit_of_the_logits",
    ),
    Fault(
        "the baseline trains",
        "the baseline is frozen",
        _BASELINE,
        "        self.requires_grad_(False)\n        return super().train(False)",
        "        return super().train(mode)",
        _BY_AGENCY_PATHS + "test_paths_learn_and_the_baseline_never_does",
    ),
    Fault(
        "the baseline is not told about padding",
        "the baseline is the model that it was copied from",
        _BASELINE,
        '("input_ids", "attention_mask", "position_ids")',
        '("input_ids", "position_ids")',
        _BY_AGENCY_PATHS + "test_frozen_baseline_is_the_model_that_it_was_copied_from",
    ),
    Fault(
        "the penalty is not applied",
        "the penalty closes gates",
        "training/agency.py",
        "if not self._spec.l0_penalty:",
        "if True:",
        _BY_AGENCY + "test_penalty_closes_hard_concrete_gates",
    ),
    Fault(
        "an update reads other text after a resume",
        "resumed equals uninterrupted",
        "training/agency.py",
        "first = (state.global_step // policy.every - 1) * policy.num_sequences",
        "first = (self.__dict__.setdefault('n', [0]).append(0) or len(self.n)) * 7",
        _BY_AGENCY + "test_interrupted_training_ends_with_the_states_of_an_uninterrupted_one",
    ),
)
