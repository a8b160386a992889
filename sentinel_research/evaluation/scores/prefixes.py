"""What a model has to read for a set of continuations, with beginnings that many share read once.

Sequences form trees: a node is read behind its parent, whose keys and values, or states, it gets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MIN_SAVED = 16
"""Tokens that a shared beginning has to save: fewer are not worth a pass of their own."""
Tokens = tuple[int, ...]


class Continuation(NamedTuple):
    """Tokens to score behind others."""

    read: Tokens
    """What the model reads: context and continuation, but for its last token."""
    target: Tokens
    """The continuation; what `read` has at `-len(target)` predicts its first token."""


class Wanted(NamedTuple):
    """One token to score."""

    position: int
    """In its node, of what predicts it."""
    token: int
    owner: int
    """Place of its continuation in the list that was asked for."""


@dataclass
class Node:
    """Tokens that are read together, behind those of the parent."""

    start: int
    """Tokens before it."""
    tokens: Tokens
    targets: list[tuple[int, Tokens, int]] = field(default_factory=list)
    """What to score: the position that predicts its first token, its tokens, its owner."""
    children: list["Node"] = field(default_factory=list)

    @property
    def wanted(self) -> list[Wanted]:
        """Its tokens to score, one by one; made when they are read, not for all nodes at once."""
        return [
            Wanted(first + place, token, owner)
            for first, tokens, owner in self.targets
            for place, token in enumerate(tokens)
        ]

    @property
    def num_tokens(self) -> int:
        """Of the node and everything behind it."""
        return len(self.tokens) + sum(child.num_tokens for child in self.children)

    @property
    def depth(self) -> int:
        """Tokens of the longest sequence through the node, from its start."""
        return len(self.tokens) + max((child.depth for child in self.children), default=0)


class _Path(NamedTuple):
    """A sequence, with the continuations that are read with it."""

    tokens: Tokens
    owners: tuple[int, ...]


def new_tokens(asked: Sequence[Continuation]) -> list[int]:
    """Of every continuation, the tokens of `read` that the one before it does not begin with.

    Their sum, of sorted continuations, is the least that a model has to read.

    Example:
        >>> new_tokens([Continuation((1, 2), (2,)), Continuation((1, 2, 4), (4, 5))])
        [2, 1]
    """
    before: Tokens = ()
    found = []
    for read, _ in asked:
        found.append(len(read) - _agreement(before, read, min(len(before), len(read))))
        before = read
    return found


def reading_trees(asked: Sequence[Continuation], *, shares: bool) -> list[Node]:
    """The first nodes, those of the longest sequences first.

    A sequence that begins another is read with it in any case: the models are causal.

    Args:
        asked: Continuations.
        shares: Whether the model can go on behind what several sequences share.

    Example:
        >>> both = [Continuation((1, 2), (3,)), Continuation((1, 2, 4), (4, 5))]
        >>> (root,) = reading_trees(both, shares=True)
        >>> root.tokens, [one.owner for one in root.wanted]
        ((1, 2, 4), [0, 1, 1])
    """
    roots = list(_nodes(_paths(asked), 0, asked, shares))
    roots.sort(key=lambda root: -root.depth)
    return roots


def _paths(asked: Sequence[Continuation]) -> list[_Path]:
    """The fewest sequences in which everything is read, in descending order."""
    by_tokens: dict[Tokens, list[int]] = {}
    for place, one in enumerate(asked):
        by_tokens.setdefault(one.read, []).append(place)
    found: list[tuple[Tokens, list[int]]] = []
    # in this order a sequence comes right behind those that begin with it
    for tokens in sorted(by_tokens, reverse=True):
        if found and found[-1][0][: len(tokens)] == tokens:
            found[-1][1].extend(by_tokens[tokens])
        else:
            found.append((tokens, by_tokens[tokens]))
    return [_Path(tokens, tuple(sorted(owners))) for tokens, owners in found]


def _nodes(
    paths: Sequence[_Path], start: int, asked: Sequence[Continuation], shares: bool
) -> Iterator[Node]:
    """Divide paths that agree before `start`; neighbours agree longest."""
    first = 0
    while first < len(paths):
        last, common = first + 1, len(paths[first].tokens)
        while shares and last < len(paths):
            longer = _agreement(paths[first].tokens, paths[last].tokens, common)
            if (last - first) * (longer - start) < MIN_SAVED:
                break
            common, last = longer, last + 1
        group = paths[first:last]
        yield _node(group, start, common if len(group) > 1 else len(group[0].tokens), asked)
        first = last


def _node(group: Sequence[_Path], start: int, end: int, asked: Sequence[Continuation]) -> Node:
    node = Node(start, group[0].tokens[start:end])
    for path in group:
        for owner in path.owners:
            read, target = asked[owner]
            first = len(read) - len(target)
            begin = max(first, start)
            inside = target[begin - first : max(end, begin) - first]
            if inside:
                node.targets.append((begin - start, inside, owner))
    deeper = [path for path in group if len(path.tokens) > end]
    node.children = list(_nodes(deeper, end, asked, shares=True))
    return node


def _agreement(one: Tokens, other: Tokens, at_most: int) -> int:
    """Tokens at the beginning of both."""
    if one[:at_most] == other[:at_most]:
        return min(at_most, len(one), len(other))
    return next(
        place for place in range(at_most) if one[place : place + 1] != other[place : place + 1]
    )
