"""Faults of scoring and writing: silent ones, under which lm-eval gets other numbers."""

from fault import Fault

_ADAPTER = "evaluation/adapter.py"
_DIVISION = "evaluation/scores/division.py"
_PATHS = "evaluation/scores/paths.py"
_PERPLEXITY = "evaluation/perplexity.py"
_PREFIXES = "evaluation/scores/prefixes.py"
_SCORER = "evaluation/scores/scorer.py"
_SCORING_LM = "evaluation/scoring_lm.py"
_GREEDY = "evaluation/writing/greedy.py"
_BY_ADAPTER = "tests/contract/test_adapter.py::"
_BY_DIVISION = "tests/distributed/test_evaluation.py::"
_BY_PERPLEXITY = "tests/contract/test_tasks_perplexity.py::"
_BY_PASSES = "tests/contract/test_scoring_passes.py::"
_BY_PROMPTS = "tests/contract/test_benchmark_prompts.py::"
_BY_REFUSALS = "tests/contract/test_benchmark_refusals.py::"
_BY_SCORING = "tests/contract/test_scoring.py::"
_BY_WRITING = "tests/contract/test_generate_until.py::"

SCORING_FAULTS = (
    Fault(
        "a shared prefix is given to the wrong row",
        "sharing changes no score",
        _SCORER,
        "zip(batch, self._pass(batch), strict=True)",
        "zip(batch, self._pass(batch)[::-1], strict=True)",
        _BY_SCORING + "test_shared_beginnings_change_no_score_on_any_family",
    ),
    Fault(
        "a token's score is gathered one position early",
        "scores are those of lm-eval",
        _PREFIXES,
        "node.targets.append((begin - start, inside, owner))",
        "node.targets.append((max(0, begin - start - 1), inside, owner))",
        _BY_SCORING + "test_scores_are_those_of_stock_on_every_family",
    ),
    Fault(
        "the greedy flag is that of another token",
        "flags are those of lm-eval",
        _SCORER,
        "logits.argmax(-1).cpu()[slots] != targets",
        "logits.argmax(-1).cpu()[slots] != targets.roll(1)",
        _BY_SCORING + "test_greedy_continuation_is_found",
    ),
    Fault(
        "an answer is greedy when its last token is",
        "flags are those of lm-eval",
        _SCORER,
        "self._misses.index_add_(0, owners, is_miss.long())",
        "self._misses[owners] = is_miss.long()",
        _BY_SCORING + "test_scores_are_those_of_stock_on_every_family",
    ),
    Fault(
        "log-probabilities are summed in half precision",
        "logarithms are of float32",
        _SCORER,
        "exact = logits if logits.dtype == torch.float64 else logits.float()",
        "exact = logits",
        _BY_PASSES + "test_sum_over_thousands_of_tokens_is_that_of_float64",
    ),
    Fault(
        "sums over tokens are of float32",
        "sums are of float64",
        _SCORER,
        "self._sums.index_add_(0, owners, log_probs)",
        "self._sums.copy_(self._sums.float().index_add_(0, owners, log_probs.float()))",
        _BY_PASSES + "test_sum_over_thousands_of_tokens_is_that_of_float64",
    ),
    Fault(
        "keys of a shorter beginning stand where the mask does not look",
        "beginnings of unequal length change no score",
        _PATHS,
        "start = self._longest - known",
        "start = 0",
        _BY_SCORING + "test_scores_of_any_requests_with_shared_beginnings_are_those_of_stock",
    ),
    Fault(
        "positions behind a shorter beginning are those of the longest",
        "beginnings of unequal length change no score",
        _PATHS,
        'options["position_ids"] = before + places[:num_new]',
        'options["position_ids"] = longest + 0 * before + places[:num_new]',
        _BY_SCORING + "test_shared_beginnings_change_no_score_on_any_family",
    ),
    Fault(
        "a past counts only its last part",
        "sharing changes no score",
        _SCORER,
        "ends = [node.start + len(node.tokens) for node in nodes]",
        "ends = [len(node.tokens) for node in nodes]",
        _BY_SCORING + "test_shared_beginnings_change_no_score_on_any_family",
    ),
    Fault(
        "states are read from questions of unequal length",
        "padding enters no state",
        _SCORER,
        "        if self._caches.has_states:",
        "        if False:",
        _BY_PASSES + "test_states_are_made_from_questions_of_one_length",
    ),
    Fault(
        "a long request loses one token of context more than it must",
        "scores are those of lm-eval",
        _SCORING_LM,
        "[-(self.max_length + 1) :]",
        "[-self.max_length :]",
        _BY_ADAPTER + "test_rolling_log_likelihoods_equal_stock_lm_eval",
    ),
    Fault(
        "answers of requests are given in sorted order",
        "every request gets its own answer",
        _SCORING_LM,
        "        return [found[one] for one in asked]",
        "        return [found[one] for one in sorted(asked)]",
        _BY_SCORING + "test_scores_of_any_requests_are_those_of_stock",
    ),
    Fault(
        "equal answers behind different questions are mixed up",
        "every request gets its own answer",
        _SCORING_LM,
        "        found = dict(zip(distinct, scores, strict=True))\n"
        "        return [found[one] for one in asked]",
        "        found = {one.target: score for one, score in zip(distinct, scores, strict=True)}\n"
        "        return [found[one.target] for one in asked]",
        _BY_SCORING + "test_scores_of_any_requests_are_those_of_stock",
    ),
    Fault(
        "a piece of a long answer forgets the pieces before it",
        "a long answer's score is the sum over its tokens",
        "evaluation/scores/long_answers.py",
        "(None, prompt + answer[:at], answer[at : at + size])",
        "(None, prompt, answer[at : at + size])",
        _BY_REFUSALS + "test_answer_longer_than_the_model_is_scored_in_pieces",
    ),
    Fault(
        "the overlap of rolling windows is counted twice",
        "windows count every token once",
        _ADAPTER,
        "window_num_tokens=tuple(len(windows[index][2]) for index in part)",
        "window_num_tokens=tuple(len(windows[index][1] + windows[index][2]) for index in part)",
        _BY_ADAPTER + "test_windows_sum_to_the_text_and_count_its_tokens",
    ),
    Fault(
        "windows of a text begin at that of the text before it",
        "rolling scores are those of lm-eval",
        _ADAPTER,
        "            start += count\n",
        "            start += count - (count > 1)\n",
        _BY_ADAPTER + "test_rolling_log_likelihoods_equal_stock_lm_eval",
    ),
    Fault(
        "a cached answer is that of another model",
        "answers are kept by model",
        "evaluation/answer_cache.py",
        "        model_fingerprint(lm.model),\n",
        '        "model",\n',
        "tests/contract/test_answer_cache.py::test_pruned_model_is_not_given_the_dense_answers",
    ),
    Fault(
        "a fingerprint leaves the weights out",
        "every change of a model changes its fingerprint",
        "models/fingerprint.py",
        "    digest.update(bits.numpy().data)",
        '    digest.update(b"")',
        "tests/models/test_fingerprint.py::test_change_of_the_model_changes_it",
    ),
    Fault(
        "a prompt ends with a space",
        "prompts are those of lm-eval, byte for byte",
        "evaluation/prompts.py",
        "Question: {doc['question']}\\n\\nAnswer:\"",
        "Question: {doc['question']}\\n\\nAnswer: \"",
        _BY_PROMPTS + "test_requests_without_examples_are_lm_evals",
    ),
    Fault(
        "every process scores the first share",
        "processes give the metrics of one",
        _DIVISION,
        "shares(costs)[distributed.process_index()]",
        "shares(costs)[0]",
        _BY_DIVISION + "test_every_process_reads_its_part_and_knows_all_scores",
    ),
    Fault(
        "the first process' answers are taken twice",
        "processes give the metrics of one",
        _DIVISION,
        'return [answer for one in found for answer in one["answers"]]',
        'return [answer for _ in found for answer in found[0]["answers"]]',
        _BY_DIVISION + "test_processes_give_the_metrics_and_the_order_of_one",
    ),
    Fault(
        "a byte counts as a word",
        "perplexities are those of lm-eval",
        _PERPLEXITY,
        '"byte_perplexity": Scored(log_likelihood, doc["num_bytes"])',
        '"byte_perplexity": Scored(log_likelihood, doc["num_words"])',
        "tests/contract/test_tasks.py::test_wikitext_numbers_are_those_of_lm_evals_own_task",
    ),
    Fault(
        "a model that knows the future passes the check",
        "nothing beats the source of synthetic text",
        _PERPLEXITY,
        "return LeakCheck(mean, stderr, z, z < LEAK_Z)",
        "return LeakCheck(mean, stderr, z, z > -LEAK_Z)",
        _BY_PERPLEXITY + "test_honest_model_is_no_leak_and_a_clairvoyant_one_is",
    ),
    Fault(
        "a finished text is handed to another prompt",
        "a text is the one written for its prompt alone",
        _GREEDY,
        "self._progress(row.place, row.written)",
        "self._progress(order[row.place], row.written)",
        _BY_WRITING + "test_text_of_any_request_is_the_one_written_alone",
    ),
    Fault(
        "rows written together see the padding before them",
        "a text is the one written for its prompt alone",
        _GREEDY,
        "        if first.any():",
        "        if False:",
        _BY_WRITING + "test_text_is_the_one_written_for_the_prompt_alone_in_every_family",
    ),
)
