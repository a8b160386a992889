"""The table of the project's tasks, docs/tasks.md: data, split, documents and metrics of each.

`python -m sentinel_research.data.task_table` writes the file; a test holds it to the task files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sentinel_research.data import probes
from sentinel_research.data.catalogue import CORPORA
from sentinel_research.data.mmlu import SUBJECTS
from sentinel_research.data.tasks import find_tasks, list_tasks, task_folder

GLUE_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
"""The commit of nyu-mll/glue on the hub that the mirror's evaluation splits are from, as far as a
commit is known: those of sst2's training split, wnli and qqp are from other copies."""
_OF_THAT_REVISION = ("cola", "mrpc", "rte", "stsb", "sst2", "qnli", "mnli")

NUM_DOCUMENTS: Mapping[str, int] = {
    "sentinel_cola": 1043,
    "sentinel_sst2": 872,
    "sentinel_mrpc": 408,
    "sentinel_qqp": 40430,
    "sentinel_mnli": 9815,
    "sentinel_mnli_mismatch": 9832,
    "sentinel_mnli_both": 19647,
    "sentinel_qnli": 5463,
    "sentinel_rte": 277,
    "sentinel_wnli": 71,
    "sentinel_stsb": 1500,
    "sentinel_boolq": 3270,
    "sentinel_cb": 56,
    "sentinel_copa": 100,
    "sentinel_multirc": 4848,
    "sentinel_record": 10000,
    "sentinel_sglue_rte": 277,
    "sentinel_wic": 638,
    "sentinel_wsc": 104,
    "sentinel_squad": 10570,
    "sentinel_squad_v2": 11873,
    "sentinel_wikitext2": 62,
    "sentinel_wikitext2_validation": 60,
    "sentinel_wikitext103": 62,
    "sentinel_wikitext103_validation": 60,
    "sentinel_ptb": 1,
    "sentinel_ptb_validation": 1,
    "sentinel_shakespeare": 1,
    "sentinel_shakespeare_validation": 1,
    "sentinel_gutenberg": 3,
    "sentinel_gutenberg_validation": 3,
    "sentinel_synthetic": 256,
    "sentinel_synthetic_validation": 256,
    "sentinel_tinystories": 300,
    "sentinel_c4": 200,
    "sentinel_c4_validation": 200,
    "sentinel_pile": 1000,
    "sentinel_pile_validation": 1000,
    **{
        f"sentinel_{probe}{suffix}": probes.NUM_DOCUMENTS
        for probe in ("induction", "recall", "copy")
        for suffix in ("", "_control")
    },
    **{
        f"sentinel_mmlu_{subject}": number
        for subjects in SUBJECTS.values()
        for subject, number in subjects.items()
    },
}
"""Documents that each task evaluates: all of the official split, or the part the task is defined
as."""

IN_MIRROR: Mapping[str, int] = {"sentinel_qqp": 1000, "sentinel_record": 11}
"""Documents of the splits that the project's own mirror holds in part."""

_HEAD = """\
# Tasks

Every task reads the mirror that `SENTINEL_DATA` names, else the Hugging Face hub, with the same
file. `documents` is the size of the official split, or of the part that the task is defined as;
`mirror` is whether the mirror that this project's own figures come from holds all of them.
A revision is the commit on the hub, where it is known; what a run read is in its record, as the
SHA-256 of its files or the commit of the hub. `python -m sentinel_research.data.task_table` writes
this file.

`score` is what GLUE and SuperGLUE average: the task's metric, or the mean of its two.
`sentinel_glue` weighs nine tasks alike and takes MNLI's two parts as one, `sentinel_superglue`
eight; `sentinel_mmlu` and its four groups weigh questions alike. All three stop short of the
published boards, which use hidden test labels.

`sentinel_induction`, `sentinel_recall` and `sentinel_copy` are made here, of English words and no
natural text: they ask whether a model uses its context, one of four answers being right. Their
controls have no answer in the context. They need no more than Latin
letters, so that models of one character a token can be asked as well.

Prompts of the others are lm-eval 0.4.13's, byte for byte. Differences:

- `sentinel_multirc`: label 1 is a right answer. lm-eval takes it for "no", so that its accuracy is
  one minus ours, and its examples say the opposite of their labels.
- `sentinel_record`: lm-eval's prompt and choices; its task does not import on transformers 5.
- `sentinel_squad_v2`: lm-eval's prompt; "unanswerable" counts as no answer, where lm-eval counts it
  as a wrong one. `sentinel_squad` uses the same prompt.
- `sentinel_stsb`: not in lm-eval. The choices are 0 to 5; the prediction is their mean by
  probability.
- Examples: drawn by the seed and the document, so that they do not depend on the number of
  processes; those of MMLU are the first of its `dev` split, as in lm-eval.

Standard errors: means in closed form, F1 and Matthews correlation by a bootstrap of the confusion
table, correlations by the infinitesimal jackknife. SQuAD and ReCoRD take questions on one text
together, MultiRC those on one paragraph (except for `acc`, whose error is lm-eval's); below ten
texts there is none.

"""


class _Row(NamedTuple):
    """One line of the table."""

    task: str
    dataset: str
    revision: str
    split: str
    documents: str
    metrics: str
    mirror: str


def render_task_table() -> str:
    """The content of docs/tasks.md."""
    index = find_tasks([]).task_index
    rows = [_row(name, index[name].cfg) for name, _ in list_tasks() if "task" in index[name].cfg]
    groups = [f"- `{name}`: {text}" for name, text in list_tasks() if "group" in index[name].cfg]
    head = _Row(*_Row._fields)
    table = [head, _Row(*["---"] * len(head)), *(row for row in rows if row is not None)]
    lines = [f"| {' | '.join(row)} |" for row in table]
    return _HEAD + "\n".join([*groups, "", *lines]) + "\n"


def _row(name: str, config: Mapping[str, Any]) -> _Row | None:
    if isinstance(config["task"], list):
        return None
    dataset, revision, split = _source(config)
    metrics = [entry["metric"] for entry in config["metric_list"]]
    complete = "yes"
    if name in IN_MIRROR:
        complete = f"{IN_MIRROR[name]:,} of {NUM_DOCUMENTS[name]:,}"
    return _Row(
        name,
        dataset,
        revision,
        split,
        f"{NUM_DOCUMENTS[name]:,}",
        ", ".join(metric for metric in metrics if not metric.endswith("_stderr")),
        complete,
    )


def _source(config: Mapping[str, Any]) -> tuple[str, str, str]:
    """Dataset, revision and split."""
    split = config.get("test_split") or config["validation_split"]
    options = config["dataset_kwargs"]
    if "repository" in options:
        split = "+".join(options.get("interleaved", {}).get(split, [split]))
        is_known = (
            options["repository"] == "nyu-mll/glue" and options["subset"] in _OF_THAT_REVISION
        )
        revision = GLUE_REVISION[:12] if is_known else "not known"
        return f"{options['repository']} {options['subset']}", revision, split
    if "probe" in options:
        return "synthetic questions", "-", split
    corpus = CORPORA[options["corpus"]]
    if split in corpus.splits:
        source = corpus.splits[split]
        return f"{source.repo_id} {source.config}", "not known", source.split
    # made here, or books by their numbers
    return corpus.reference, "-", split


if __name__ == "__main__":
    place = Path(task_folder()).parent / "docs" / "tasks.md"
    place.write_text(render_task_table(), encoding="utf-8")
