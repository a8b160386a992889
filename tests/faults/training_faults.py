"""Faults of data, training and recovery: silent ones, under which a model learns something else."""

from fault import Fault

_ADJUST = "training/adjust.py"
_ANSWERS = "data/answers.py"
_DISTILL = "recoveries/distill.py"
_TRAINER = "training/hf_trainer.py"
_BY_ADJUST = "tests/training/test_adjust.py::"
_BY_ANSWERS = "tests/data/test_answers.py::"
_BY_DISTILL = "tests/recoveries/test_distill.py::"
_BY_LABELS = "tests/training/test_labels.py::"
_BY_TRAINER = "tests/training/test_trainer.py::"

TRAINING_FAULTS = (
    Fault(
        "validation averages the loss per batch and not per token",
        "every labelled token counts alike",
        _TRAINER,
        "total += torch.stack([loss.double() * number, torch.full_like(loss, number).double()])",
        "total += torch.stack([loss.double(), torch.ones_like(loss).double()])",
        _BY_LABELS + "test_validation_weighs_every_labelled_token_alike",
    ),
    Fault(
        "labels are shifted twice",
        "a token is predicted from those before it",
        _TRAINER,
        '"labels": self._labels[index]}',
        '"labels": self._labels[index].roll(-1, -1)}',
        _BY_TRAINER + "test_validation_loss_is_the_mean_over_tokens",
    ),
    Fault(
        "a batch is cut before its last label",
        "every labelled token is trained on",
        _TRAINER,
        "values[:, : int(places.max()) + 1]",
        "values[:, : int(places.max())]",
        _BY_LABELS + "test_batch_ends_with_its_last_label",
    ),
    Fault(
        "time constants of Mamba decay",
        "decay leaves time constants alone",
        _TRAINER,
        '_NEVER_DECAYED = ("A_log",)',
        "_NEVER_DECAYED = ()",
        _BY_TRAINER + "test_time_constants_of_mamba_are_never_decayed",
    ),
    Fault(
        "added losses act in validation too",
        "validation is plain cross-entropy",
        _TRAINER,
        "if not model.training or not self._adjustments.loss_terms:",
        "if not self._adjustments.loss_terms:",
        _BY_ADJUST + "test_loss_terms_act_in_training_and_not_in_validation",
    ),
    Fault(
        "the optimiser moves pruned weights",
        "what is held keeps every bit",
        _ADJUST,
        "        if self._scaled:\n            optimizer",
        "        if False:\n            optimizer",
        _BY_ADJUST + "test_entries_with_factor_zero_keep_every_bit",
    ),
    Fault(
        "gradients of held entries count in the norm that is clipped",
        "what is held stays out of the norm",
        _ADJUST,
        "return gradient.masked_fill(self.factor == 0, 0)",
        "return gradient",
        _BY_ADJUST + "test_held_entries_stay_out_of_the_norm_that_is_clipped",
    ),
    Fault(
        "frozen parameters stay frozen behind a training",
        "a frozen parameter thaws afterwards",
        _ADJUST,
        "                parameter.requires_grad_(flag)",
        "                pass",
        _BY_ADJUST + "test_frozen_parameter_costs_no_gradient_and_thaws_afterwards",
    ),
    Fault(
        "a frozen mask thaws",
        "what is masked keeps every bit",
        "recoveries/live_mask.py",
        "factor.clone().copy_(now[name]) if name in now else torch.ones_like(factor)",
        "torch.ones_like(factor)",
        "tests/recoveries/test_live_mask.py::"
        "test_masked_head_keeps_every_bit_and_comes_back_without_momentum",
    ),
    Fault(
        "a head's learning rate acts on columns of other heads",
        "every head has a rate of its own",
        "recoveries/unit_factors.py",
        "values.repeat_interleave(structure.head_dim)",
        "values.repeat(structure.head_dim)",
        "tests/recoveries/test_unit_factors.py::"
        "test_gradient_of_a_masked_unit_is_zero_exactly_where_its_factor_is",
    ),
    Fault(
        "active heads are slowed down in place of inactive ones",
        "inactive heads are those below the quantile",
        "recoveries/per_head_lr.py",
        "torch.where(values < threshold,",
        "torch.where(values > threshold,",
        "tests/recoveries/test_per_head_lr.py::"
        "test_inactive_are_those_below_the_quantile_of_what_is_left",
    ),
    Fault(
        "the teacher teaches with dropout",
        "the teacher is in evaluation",
        _DISTILL,
        "        with evaluating(teaching), torch.no_grad():\n            its",
        "        with torch.no_grad():\n            its",
        _BY_DISTILL + "test_teacher_is_used_without_dropout_and_left_as_it_was",
    ),
    Fault(
        "the divergence is the other way round",
        "the formula",
        _DISTILL,
        "F.kl_div(log_q, log_p,",
        "F.kl_div(log_p, log_q,",
        _BY_DISTILL + "test_divergence_is_that_of_the_formula",
    ),
    Fault(
        "gradients of distillation shrink with the temperature",
        "the formula",
        _DISTILL,
        "return temperature**2 * F.kl_div(",
        "return F.kl_div(",
        _BY_DISTILL + "test_divergence_is_that_of_the_formula",
    ),
    Fault(
        "a recovery's quantisation rounds a copy",
        "a recovered model is on its grid",
        "recoveries/quantise.py",
        "done = quantise_in_place(model, options, held(model, plan))",
        "import copy\n\n        done = quantise_in_place(\n"
        "            copy.deepcopy(model), options, held(model, plan)\n        )",
        "tests/recoveries/test_quantise.py::test_result_is_on_its_grid_and_reloads",
    ),
    Fault(
        "packing loses the last token of a document",
        "packed tokens are the documents in order",
        "data/packing.py",
        "yield np.array(prefix + ids, dtype=np.int64)",
        "yield np.array(prefix + ids[:-1], dtype=np.int64)",
        "tests/data/test_packing.py::test_packed_tokens_are_the_documents_in_order_each_behind_bos",
    ),
    Fault(
        "a held-out document is trained on",
        "the two sides share no document",
        _ANSWERS,
        "return sorted(set(range(len(documents))) - set(held)), sorted(held)",
        "return list(range(len(documents))), sorted(held)",
        _BY_ANSWERS
        + "test_held_out_documents_are_a_share_that_order_and_row_numbers_do_not_change",
    ),
    Fault(
        "equal documents are divided",
        "the two sides share no document",
        _ANSWERS,
        "by_content.setdefault(content_fingerprint(document), []).append(index)",
        "by_content.setdefault(f'{content_fingerprint(document)}{index}', []).append(index)",
        _BY_ANSWERS + "test_equal_documents_are_never_on_both_sides",
    ),
    Fault(
        "padding counts as an answer",
        "only the answer is trained on",
        _ANSWERS,
        "is_target[row, len(context) : end] = True",
        "is_target[row, len(context) :] = True",
        _BY_ANSWERS + "test_answer_is_the_target_and_padding_is_none",
    ),
    Fault(
        "validation reads the training split",
        "validation is on text of its own",
        "data/training_set.py",
        "[_packed(corpus, VALIDATION_SPLIT, spec, tokenizer) for corpus in spec.corpora]",
        "[_packed(corpus, FITTED_SPLIT, spec, tokenizer) for corpus in spec.corpora]",
        "tests/data/test_training_set.py::test_validation_reads_the_validation_splits_evenly",
    ),
    Fault(
        "the answer of an example loses the space before it",
        "prompts are those of lm-eval",
        "data/task_documents.py",
        'return f"{task.config.target_delimiter}{answer}"',
        "return answer",
        "tests/data/test_calibration.py::test_targets_are_the_right_answers",
    ),
)
