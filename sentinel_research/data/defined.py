"""The corpora that a recipe defines: registered beside the named ones, each with a task."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import yaml
from datasets import Dataset

from sentinel_research.data import catalogue
from sentinel_research.data.corpora import forget_documents, load_corpus
from sentinel_research.data.filters import filter_documents
from sentinel_research.data.local import read_texts
from sentinel_research.data.provenance import Provenance, attach, hash_texts, provenance_of
from sentinel_research.data.tasks import PERPLEXITY, generated_tasks, task_folder
from sentinel_research.errors import DataError, UsageError
from sentinel_research.specs import CorpusSpec


def define_corpora(specs: Mapping[str, CorpusSpec]) -> None:
    """Make the corpora of one recipe known in this process, and forget those of another one.

    Args:
        specs: By name; files are read and filters applied now.

    Raises:
        UsageError: for a name that a corpus of the project has, or an unknown corpus or language.
        DataError: if files cannot be read, or filters leave nothing of a split.
    """
    if specs or catalogue.DEFINED:
        forget_documents()
    catalogue.DEFINED.clear()
    generated_tasks().clear()
    for name, spec in specs.items():
        if name in catalogue.CORPORA:
            raise UsageError(
                f"`corpora.{name}` has the name of a corpus of the project", "choose another name"
            )
        splits = _filtered(name, spec, _read(spec))
        catalogue.DEFINED[name] = catalogue.Corpus(
            summary=f"Of the recipe: {spec.path or spec.corpus}.",
            reference="recipe",
            generate=partial(dict.__getitem__, splits),
            generated=tuple(splits),
        )
        generated_tasks().update(_tasks(name, splits))


def _read(spec: CorpusSpec) -> dict[str, Dataset]:
    if spec.corpus is not None:
        names = catalogue.known_corpora().get(spec.corpus)
        splits = names.split_names() if names is not None else ["train"]
        return {split: load_corpus(spec.corpus, split) for split in splits}
    found = read_texts(spec)
    return {
        split: attach(
            Dataset.from_dict({"text": texts}),
            Provenance(
                source="files",
                repo_id=str(spec.path),
                config=None,
                split=split,
                num_documents=len(texts),
                text_sha256=hash_texts(texts),
                files=found.files[split],
            ),
        )
        for split, texts in found.splits.items()
    }


def _filtered(name: str, spec: CorpusSpec, splits: dict[str, Dataset]) -> dict[str, Dataset]:
    texts = {split: list(rows["text"]) for split, rows in splits.items()}
    done = filter_documents(texts, spec.filters)
    found = {}
    for split, rows in splits.items():
        if not done.kept[split]:
            raise DataError(
                f"`corpora.{name}`: the filters leave no document of split {split}: "
                f"{done.dropped[split]} of {len(rows)}",
                "Ask for less.",
            )
        origin = replace(provenance_of(rows), dropped=done.dropped[split])
        found[split] = attach(rows.select(done.kept[split]), origin)
    return found


def _tasks(name: str, splits: Mapping[str, Dataset]) -> dict[str, str]:
    """The YAML of the tasks that measure the splits, by their names."""
    found = {}
    for split, task in (
        ("test", f"sentinel_{name}"),
        ("validation", f"sentinel_{name}_validation"),
    ):
        if split in splits:
            content = {
                "include": str(task_folder() / PERPLEXITY),
                "task": task,
                "test_split": split,
                "dataset_kwargs": {"corpus": name, "split": split},
                "metadata": {"version": 1.0, "description": f"Perplexity of {name}, {split}."},
            }
            found[task] = yaml.safe_dump(content, sort_keys=False)
    return found
