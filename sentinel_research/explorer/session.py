"""One person looking at one model: what is chosen, what that is expected to do, and what it does.

No page is known here. Every call returns at once, but `scores` and `choose`, which wait for scores
that are not there yet; all other work is done by a `Worker`, and what it finds is in the next
`state`. `revision` grows with everything that changes.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from sentinel_research.errors import UsageError
from sentinel_research.explorer.choice import Choice
from sentinel_research.explorer.effects import Effects
from sentinel_research.explorer.export import as_yaml, file_name
from sentinel_research.explorer.facts import as_json, describe, expected_size, seen, size_of
from sentinel_research.explorer.measure import Meter
from sentinel_research.explorer.scorebook import Asked, Scorebook
from sentinel_research.explorer.subject import Subject
from sentinel_research.explorer.worker import Stop, Urgency, Worker
from sentinel_research.explorer.writing import Prompt, write
from sentinel_research.pruning import PruningPlan
from sentinel_research.pruning.gates import gate_units, plan_gates
from sentinel_research.pruning.named import names_of
from sentinel_research.structure import UnitKind

_CHANGES: dict[str, tuple[UnitKind, ...]] = {"kv_group": ("head",), "layer": ("attention", "ffn")}
_NUM_TRIED = 200
Names = tuple[str, ...]


class Session:
    """See the module.

    Args:
        subject: The model, its text, and the plans of its run.
        effects: What was measured unit by unit.
        book: Its scores.
        changed: Called, in any thread, after every change.
    """

    def __init__(
        self,
        subject: Subject,
        effects: Effects,
        book: Scorebook,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.subject, self.effects = subject, effects
        self._book, self.changed = book, changed
        self._structure = subject.structure
        self._whole = size_of(subject.model)
        self._facts = describe(subject, effects)
        self._lock = threading.RLock()
        self._worker, self._meter = Worker(), Meter(subject)
        self.revision = 0
        self._before: list[Choice] = []
        self._undone: list[Choice] = []
        self._found: dict[Names, dict[str, Any]] = {(): {"size": as_json(self._whole)}}
        self._tried: list[Choice] = []
        self._prompt: Prompt | None = None
        self._texts: dict[tuple[Names, Prompt], str] = {}
        self._set(Choice.named(self._structure, subject.plans.get(subject.start or "", ())))

    def close(self) -> None:
        """Drop all work and end the thread."""
        self._worker.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything is measured; False if that took too long."""
        return self._worker.wait(timeout)

    @property
    def plan(self) -> PruningPlan:
        """What stays of the model."""
        return self._plan

    def facts(self) -> dict[str, Any]:
        """What never changes, JSON types: the model, its units, its text, scorers, plans."""
        return self._facts

    def state(self) -> dict[str, Any]:
        """Everything that changes, JSON types."""
        with self._lock:
            prompt = self._prompt
            texts = {
                key: None if prompt is None else self._texts.get((which, prompt))
                for key, which in (("whole", ()), ("pruned", self._names))
            }
            return {
                "revision": self.revision,
                "removed": list(self._names),
                "counts": self._choice.counts,
                "predicted": as_json(self.effects.predict(self._choice)),
                "expected": as_json(expected_size(self._plan, self._whole)),
                "measured": self._found[self._names],
                "whole": self._found[()],
                "asked": None if self._asked is None else self._asked._asdict(),
                "tried": [self._row(number) for number in range(len(self._tried))][-_NUM_TRIED:],
                "prompt": None if prompt is None else prompt._asdict(),
                "texts": texts,
                "can_undo": bool(self._before),
                "can_redo": bool(self._undone),
                "problem": self._problem,
            }

    def _row(self, number: int) -> dict[str, Any]:
        """What became of a choice, for the list of all of them."""
        choice = self._tried[number]
        plan = choice.plan(self._structure)
        found = self._found[choice.names(self._structure)]
        return {
            "number": number,
            "is_current": choice == self._choice,
            "counts": choice.counts,
            "predicted": self.effects.predict(choice).total,
            "parameters": expected_size(plan, self._whole).parameters,
            **{part: found.get(part) for part in ("loss", "quality", "speed")},
        }

    def toggle(self, names: list[str]) -> None:
        """Take units out, or put them back if all of them are out.

        Raises:
            UsageError: for an unknown name, or if nothing would be left of the model.
        """
        units = Choice.named(self._structure, names).gone
        with self._lock:
            self._change(self._choice.toggled(units))

    def show(self, names: list[str]) -> None:
        """Choose exactly these units.

        Raises:
            UsageError: for an unknown name, or if nothing would be left of the model.
        """
        self._change(Choice.named(self._structure, names))

    def restore(self, number: int) -> None:
        """Go back to a choice of the list of those that were tried.

        Raises:
            UsageError: if there is no such choice.
        """
        with self._lock:
            if not 0 <= number < len(self._tried):
                raise UsageError(f"there is no choice {number}", f"There are {len(self._tried)}.")
            self._change(self._tried[number])

    def choose(self, asked: Asked) -> None:
        """Choose the least important units of one kind; what was chosen of others stays.

        Raises:
            UsageError: see `Scorebook.plan`.
        """
        plan = self._worker.call(lambda: self._book.plan(asked))
        kinds = _CHANGES.get(asked.kind) or (cast("UnitKind", asked.kind),)
        found = Choice.named(self._structure, names_of(plan))
        with self._lock:
            self._change(self._choice.replaced(kinds, found.gone), asked)

    def scores(self, scorer: str, kind: str, seed: int = 0) -> dict[str, Any]:
        """Values and standard errors of every unit of a kind, layer by layer.

        Raises:
            UsageError: see `Scorebook.scores`.
        """
        asked = scorer, kind, seed
        # what is there interrupts nothing
        found = self._book.known(*asked) or self._worker.call(lambda: self._book.scores(*asked))
        errors = None if found.errors is None else found.errors[kind]
        return {"values": found.values[kind], "errors": errors}

    def undo(self) -> None:
        """Go back one change."""
        with self._lock:
            if self._before:
                self._undone.append(self._choice)
                self._set(self._before.pop())

    def redo(self) -> None:
        """Take the last `undo` back."""
        with self._lock:
            if self._undone:
                self._before.append(self._choice)
                self._set(self._undone.pop())

    def write(self, prompt: Prompt) -> None:
        """Let both models go on with a prompt, and the next choices too."""
        with self._lock:
            self._prompt = prompt
            self._write()
            self._tell()

    def export(self) -> tuple[str, str]:
        """File name and content of a recipe for `sentinel run`.

        Raises:
            UsageError: if nothing is chosen.
        """
        plan = self.plan
        if plan.is_identity:
            raise UsageError("nothing is chosen, so there is nothing to export", "Choose a unit.")
        text = as_yaml(self.subject, plan, seen(self.state(), self.subject))
        return file_name(self.subject, plan), text

    def _change(self, choice: Choice, asked: Asked | None = None) -> None:
        # refuses a model of which nothing would be left
        choice.plan(self._structure)
        with self._lock:
            if choice != self._choice:
                self._before.append(self._choice)
                self._undone.clear()
            self._set(choice, asked)

    def _set(self, choice: Choice, asked: Asked | None = None) -> None:
        self._choice, self._asked, self._problem = choice, asked, ""
        self._plan, self._names = choice.plan(self._structure), choice.names(self._structure)
        if self._names not in self._found:
            self._found[self._names] = {}
        if self._names and choice not in self._tried:
            self._tried.append(choice)
        self._measure()
        self._write()
        self._tell()

    def _measure(self) -> None:
        """Ask for what is not known yet of the choice, and of the whole model."""
        plan, names = self._plan, self._names
        known, whole = self._found[names], self._found[()]
        for urgency in (Urgency.LOSS, Urgency.COST):
            self._worker.drop(urgency)

        def loss(stop: Stop) -> None:
            self._note(names, "loss", self._meter.loss(plan, stop))

        def rest(stop: Stop) -> None:
            # everything is compared with it
            if "quality" not in whole:
                nothing = Choice().plan(self._structure)
                self._meter.rest(nothing, partial(self._note, ()), stop)
            if names:
                self._meter.rest(plan, partial(self._note, names), stop)

        if names and "loss" not in known:
            self._worker.submit(Urgency.LOSS, loss, self._fail)
        if "quality" not in whole or (names and "speed" not in known):
            self._worker.submit(Urgency.COST, rest, self._fail)

    def _write(self) -> None:
        """Ask for the texts of the present choice that are not there yet."""
        prompt = self._prompt
        if prompt is None:
            return
        plan, names = self._plan, self._names

        def work(stop: Stop) -> None:
            model, tokenizer = self.subject.model, self.subject.tokenizer
            whole = self._texts.get(((), prompt))
            if whole is None:
                self._keep_text((), prompt, write(model, tokenizer, prompt, stop))
            if (names, prompt) not in self._texts:
                with gate_units(model, plan_gates(self._structure, plan)):
                    self._keep_text(names, prompt, write(model, tokenizer, prompt, stop))

        self._worker.submit(Urgency.WRITING, work, self._fail)

    def _keep_text(self, names: Names, prompt: Prompt, text: str) -> None:
        with self._lock:
            self._texts[names, prompt] = text
            self._tell()

    def _note(self, names: Names, part: str, found: Any) -> None:
        with self._lock:
            self._found[names][part] = as_json(found)
            self._tell()

    def _fail(self, message: str) -> None:
        with self._lock:
            self._problem = message
            self._tell()

    def _tell(self) -> None:
        self.revision += 1
        self.changed()
