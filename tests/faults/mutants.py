"""Mutants of a file: one small change each, made by the operators of mutmut [1].

mutmut's own runner reaches functions through trampolines, leaves out whatever has a decorator (a
property, an operator of torch), and draws no samples; so its operators are used, and run here.

Left out are operators after which a program cannot but crash, such as None in place of any value or
a call without its first argument: whatever test comes first kills them, which says nothing. Left
alone is what no test should look at: annotations, docstrings, error messages, the conditions of
`assert`, names of types, `strict=` of `zip`, and kernels that numba or Triton compile (a mutant of
them costs a compilation; their slow twins are mutated, and both must agree).

Reference: [1] https://mutmut.readthedocs.io
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import libcst
from libcst import matchers
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

_CRASHING = (mutators.operator_assignment, mutators.operator_lambda)
_OPERATORS = [one for one in mutators.mutation_operators if one[1] not in _CRASHING]
_COMPILED = ("jit", "njit", "compiled", "_merged")
_TALK = ("_LOG", "warnings")
_UNTOUCHED = (
    libcst.Annotation,
    libcst.Assert,
    libcst.Decorator,
    libcst.Import,
    libcst.ImportFrom,
    libcst.Raise,
)


class Mutant(NamedTuple):
    """A change of a file."""

    name: str
    """File, function, line, what is changed to what, and which of several that say the same."""
    file: str
    """Path inside the package."""
    lines: tuple[int, int]
    """First and last line of what is changed, from 1 on."""
    in_function: bool
    """Whether it is run when a function is called, and not when its file is loaded."""
    module: libcst.Module
    """The file before."""
    node: libcst.CSTNode
    """What is changed."""
    mutated: libcst.CSTNode
    """What it becomes."""

    @property
    def source(self) -> str:
        """The file after the change."""
        changed = self.module.deep_replace(self.node, self.mutated)
        assert isinstance(changed, libcst.Module)
        return changed.code


class _Collector(libcst.CSTVisitor):
    """Finds every change, with the functions and classes around it."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[libcst.CSTNode, libcst.CSTNode, str, tuple[int, int], bool]] = []
        self._inside: list[str] = []
        self._num_bodies = 0

    def on_visit(self, node: libcst.CSTNode) -> bool:
        if isinstance(node, libcst.FunctionDef | libcst.ClassDef):
            self._inside.append(node.name.value)
        if isinstance(node, _UNTOUCHED) or _is_compiled(node) or self._is_left_alone(node):
            return False
        for kind, operator in _OPERATORS:
            made = list(operator(node)) if isinstance(node, kind) else []
            # the same text in small letters and in capitals is the same mistake again
            for mutated in made[:1] if operator is mutators.operator_string else made:
                if not _crashes(node, mutated):
                    place = self.get_metadata(PositionProvider, node)
                    lines = place.start.line, place.end.line
                    where = ".".join(self._inside)
                    self.changes.append((node, mutated, where, lines, self._num_bodies > 0))
        return True

    def on_visit_attribute(self, node: libcst.CSTNode, attribute: str) -> None:
        self._num_bodies += _is_body(node, attribute)

    def on_leave_attribute(self, original_node: libcst.CSTNode, attribute: str) -> None:
        self._num_bodies -= _is_body(original_node, attribute)

    def on_leave(self, original_node: libcst.CSTNode) -> None:
        if isinstance(original_node, libcst.FunctionDef | libcst.ClassDef):
            self._inside.pop()

    def _is_left_alone(self, node: libcst.CSTNode) -> bool:
        if isinstance(node, libcst.Arg):
            return _keyword(node) == "strict"
        if isinstance(node, libcst.Expr):
            return isinstance(node.value, libcst.BaseString) or matchers.matches(
                node.value,
                matchers.Call(func=matchers.Attribute(value=matchers.MatchIfTrue(_is_talker))),
            )
        if isinstance(node, libcst.Assign) and not self._inside:
            # the name of a type, or a list of names
            is_list = _code(node.targets[0].target) == "__all__"
            return is_list or isinstance(node.value, libcst.Subscript)
        return False


def _is_body(node: libcst.CSTNode, attribute: str) -> bool:
    return isinstance(node, libcst.FunctionDef | libcst.Lambda) and attribute == "body"


def _keyword(argument: libcst.Arg) -> str:
    return "" if argument.keyword is None else argument.keyword.value


def _is_talker(node: libcst.CSTNode) -> bool:
    return isinstance(node, libcst.Name) and node.value in _TALK


def _is_compiled(node: libcst.CSTNode) -> bool:
    if not isinstance(node, libcst.FunctionDef):
        return False
    names = (_code(one.decorator).partition("(")[0] for one in node.decorators)
    return any(name.rpartition(".")[2] in _COMPILED for name in names)


def _crashes(node: libcst.CSTNode, mutated: libcst.CSTNode) -> bool:
    """Whether a call lacks what it cannot do without, or what `zip` only checks by."""
    if not isinstance(node, libcst.Call) or not isinstance(mutated, libcst.Call):
        return False
    if len(node.args) == len(mutated.args):
        # None in place of an argument
        return node.args != mutated.args
    at = next((place for place, one in enumerate(mutated.args) if one != node.args[place]), -1)
    without, is_last = node.args[at], at in (-1, len(node.args) - 1)
    keyword = _keyword(without)
    return keyword == "strict" or not (keyword or is_last)


def _code(node: libcst.CSTNode) -> str:
    return " ".join(libcst.Module([]).code_for_node(node).split())


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of a file.

    Args:
        file: Its path inside the package.
        source: What it holds.
    """
    wrapper = MetadataWrapper(libcst.parse_module(source))
    collector = _Collector()
    wrapper.visit(collector)
    rows = source.splitlines()
    seen: Counter[str] = Counter()
    found = []
    for node, mutated, function, lines, in_function in collector.changes:
        before, after = _code(node), _code(mutated)
        row = rows[lines[0] - 1].strip()
        name = f"{file} {function} | {row} | {before} -> {after}"
        seen[name] += 1
        if seen[name] > 1:
            name += f" ({seen[name]})"
        if before != after:
            found.append(Mutant(name, file, lines, in_function, wrapper.module, node, mutated))
    return found


def missing_names(names: Iterable[str], mutants: Iterable[Mutant]) -> list[str]:
    """Names that no mutant has: their code changed."""
    known = {one.name for one in mutants}
    return [name for name in names if name not in known]
