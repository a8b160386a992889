"""Faults of statistics, checks and reports: silent ones, under which a verdict is wrong."""

from fault import Fault

_PAIRED = "paired.py"
_RESAMPLING = "metrics/resampling.py"
_STATISTICS = "statistics.py"
_BY_AGAINST_RANDOM = "tests/reporting/test_against_random.py::"
_BY_RECOVERY = "tests/reporting/test_recovery.py::"
_BY_STATISTICS = "tests/unit/test_statistics.py::"

JUDGING_FAULTS = (
    Fault(
        "Holm's p values fall again",
        "Holm = the closed test",
        _STATISTICS,
        "largest = max(largest, min(1.0,",
        "largest = max(0.0, min(1.0,",
        _BY_STATISTICS + "test_holm_equals_the_closed_test_of_all_intersections",
    ),
    Fault(
        "Student's interval has one degree of freedom too many",
        "the interval is scipy's",
        _STATISTICS,
        "stats.t.ppf(0.5 + confidence / 2, len(array) - 1)",
        "stats.t.ppf(0.5 + confidence / 2, len(array))",
        _BY_STATISTICS + "test_mean_interval_agrees_with_scipy",
    ),
    Fault(
        "the spread over repetitions divides by their number",
        "the interval is scipy's",
        _STATISTICS,
        "stderr = float(array.std(ddof=1)) / len(array) ** 0.5",
        "stderr = float(array.std(ddof=0)) / len(array) ** 0.5",
        _BY_STATISTICS + "test_mean_interval_agrees_with_scipy",
    ),
    Fault(
        "a one-sided p is sold as two-sided",
        "the paired test is scipy's",
        _PAIRED,
        "p_value = 2 * float(stats.t.sf(abs(interval.value)",
        "p_value = float(stats.t.sf(abs(interval.value)",
        _BY_STATISTICS
        + "test_paired_test_is_scipys_and_its_detectable_difference_has_four_fifths_power",
    ),
    Fault(
        "the exact p of a position can be zero",
        "p is at least one over the draws plus one",
        _STATISTICS,
        "num - num_as_good, num, (1 + num_as_good) / (1 + num),",
        "num - num_as_good, num, num_as_good / num,",
        _BY_STATISTICS + "test_best_of_twenty_masks_has_p_one_in_twenty_one",
    ),
    Fault(
        "a new draw is tested as if it were a mean",
        "the prediction test is a two-sample t test",
        _STATISTICS,
        "* (1 + 1 / len(array)) ** 0.5",
        "* (1 / len(array)) ** 0.5",
        _BY_STATISTICS
        + "test_prediction_test_is_the_two_sample_t_test_with_one_value_in_one_sample",
    ),
    Fault(
        "Fieller's interval is mirrored",
        "the interval covers the truth",
        _PAIRED,
        "middle = -float(spread[0, 1]) / rest",
        "middle = float(spread[0, 1]) / rest",
        "tests/property/test_ratio_laws.py::"
        "test_ratios_interval_ends_where_the_t_test_begins_to_reject",
    ),
    Fault(
        "the detectable difference ignores that the spread is estimated",
        "it has four fifths power",
        _PAIRED,
        "critical * spreads[:, None])",
        "critical + 0 * spreads[:, None])",
        _BY_STATISTICS
        + "test_paired_test_is_scipys_and_its_detectable_difference_has_four_fifths_power",
    ),
    Fault(
        "a bootstrap of a table resamples it on the wrong axis",
        "a cell of a table keeps its own spread",
        _RESAMPLING,
        "table.ravel() / num_items",
        "table.T.ravel() / num_items",
        "tests/metrics/test_classification.py::test_spread_of_a_cell_of_a_table_is_its_own",
    ),
    Fault(
        "a bootstrap of clusters spreads over parts and not over resamples",
        "its error is that of resampled paragraphs",
        _RESAMPLING,
        "return float(np.std(statistic(weights @ sums), ddof=1))",
        "return float(np.mean(np.std(np.atleast_2d(statistic(weights @ sums)), axis=0)))",
        "tests/metrics/test_questions.py::test_standard_errors_are_those_of_resampled_paragraphs",
    ),
    Fault(
        "clusters are split",
        "questions on one text go together",
        _RESAMPLING,
        "sums = np.bincount(clusters, weights=residuals)",
        "sums = residuals",
        "tests/metrics/test_answers.py::"
        "test_error_of_questions_on_shared_texts_is_the_spread_of_new_texts",
    ),
    Fault(
        "a bootstrap of blocks gives every block the words of its document",
        "blocks share a document's words",
        "evaluation/perplexity.py",
        "units * tokens / tokens.sum()",
        "units * tokens / tokens",
        "tests/contract/test_tasks_perplexity.py::"
        "test_window_bootstrap_agrees_with_the_closed_form_for_independent_windows",
    ),
    Fault(
        "seeds are paired in the order of their values",
        "differences are paired by seed",
        "reporting/differences.py",
        "[pair.second_values[seed] for seed in shared],",
        "sorted(pair.second_values[seed] for seed in shared),",
        "tests/reporting/test_architectures.py::"
        "test_differences_are_paired_by_seed_and_corrected_over_all_pairs",
    ),
    Fault(
        "p values of a family are not corrected",
        "Holm over all pairs",
        "reporting/differences.py",
        "adjusted = iter(holm([test.p_value for test in tests if test is not None]))",
        "adjusted = iter([test.p_value for test in tests if test is not None])",
        "tests/reporting/test_architectures.py::"
        "test_differences_are_paired_by_seed_and_corrected_over_all_pairs",
    ),
    Fault(
        "a higher perplexity is called better",
        "the task's direction decides",
        "reporting/criteria/against_random.py",
        "_verdict(p_t, (prediction.t > 0) == higher_is_better, True)",
        "_verdict(p_t, prediction.t > 0, True)",
        _BY_AGAINST_RANDOM
        + "test_masks_are_counted_and_both_tests_are_corrected_over_all_comparisons",
    ),
    Fault(
        "too few masks are not noticed",
        "what cannot be told is said",
        "reporting/criteria/against_random.py",
        "least = min(1.0, len(tested) * 2 / (1 + position.num_reference))",
        "least = min(1.0, 2 / (1 + position.num_reference))",
        _BY_AGAINST_RANDOM + "test_more_comparisons_take_more_masks",
    ),
    Fault(
        "what was regained is measured from the reference",
        "the fraction is gain over loss",
        "reporting/recovery/regained.py",
        "gained = [sign * (one.after.value - one.before.value) for one in paired]",
        "gained = [sign * (references[one.seed].value - one.after.value) for one in paired]",
        _BY_RECOVERY + "test_fraction_is_of_the_loss_in_nats_against_both_references",
    ),
    Fault(
        "a claim holds where half of its interval does",
        "the whole interval answers a claim",
        "reporting/recovery/claim.py",
        "if regained.interval.low >= NEARLY_ALL:",
        "if regained.value >= NEARLY_ALL:",
        "tests/reporting/test_recovery_report.py::test_claim_is_answered_by_the_whole_interval",
    ),
    Fault(
        "a failed check of a cell is not reported",
        "every failed check is said",
        "record.py",
        "checks = [*self.checks, *(check for cell in self.cells for check in cell.checks)]",
        "checks = list(self.checks)",
        "tests/unit/test_record.py::test_failed_checks_are_those_of_the_run_and_of_its_cells",
    ),
    Fault(
        "a failed check is counted as passed",
        "every failed check is said",
        "reporting/outcome.py",
        "passed = sum(check.passed for check in checks)",
        "passed = len(checks)",
        "tests/reporting/test_report.py::test_verdict_counts_the_checks_that_hold",
    ),
    Fault(
        "a document that was trained on and evaluated passes the check",
        "fitting and evaluation share no document",
        "inputs.py",
        "passed=num_shared == 0,",
        "passed=num_shared < len(one.documents),",
        "tests/data/test_inputs.py::test_corpus_is_compared_with_any_task",
    ),
    Fault(
        "a single seed is shown with an interval of nothing",
        "one measurement has its own error",
        "reporting/estimates.py",
        'return Estimate(only.value, None, None, "nothing", values)',
        'return Estimate(only.value, 0.0, normal_interval(only.value, 0.0), "nothing", values)',
        "tests/reporting/test_estimates.py::test_measurement_without_stderr_has_no_interval",
    ),
)
