"""How numbers are printed: as many digits as their uncertainty supports, and no more."""

import math
from collections.abc import Iterable, Sequence

MOST_VALUES = 1000
"""Of a figure: more cannot be told apart, and make a page slow."""
_LEAST_DECIMALS, _MOST_DECIMALS = 0, 6


def number(value: float) -> str:
    """A value of unknown uncertainty, with about four significant digits.

    Example:
        >>> number(12.34567), number(1234567.8), number(0.5)
        ('12.35', '1,234,568', '0.5000')
    """
    if value == 0:
        return "0"
    decimals = 3 - math.floor(math.log10(abs(value)))
    if decimals > _MOST_DECIMALS:
        return f"{value:.3g}"
    return f"{value:,.{max(_LEAST_DECIMALS, decimals)}f}"


def with_error(value: float, stderr: float | None) -> str:
    """A value and its standard error, both to the error's second significant digit.

    Example:
        >>> with_error(12.34567, 0.0213), with_error(12.34567, None)
        ('12.346 ± 0.021', '12.35')
    """
    if stderr is None:
        return number(value)
    if stderr == 0:
        return f"{number(value)} ± 0"
    decimals = 1 - math.floor(math.log10(stderr))
    decimals = min(_MOST_DECIMALS, max(_LEAST_DECIMALS, decimals))
    return f"{value:,.{decimals}f} ± {stderr:,.{decimals}f}"


def fraction(value: float) -> str:
    """A fraction as it was asked for: the shortest text that is exact, so that none share one.

    Example:
        >>> fraction(0.25), fraction(0.3333331), fraction(1.0)
        ('0.25', '0.3333331', '1')
    """
    return repr(float(value)).removesuffix(".0")


def counts(values: Iterable[int]) -> str:
    """One count, or the range of several different ones.

    Example:
        >>> counts([1200, 1200]), counts([3, 1, 2])
        ('1,200', '1 to 3')
    """
    found = sorted(set(values))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def quantity(amount: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> quantity(1, "cell"), quantity(2, "cell")
        ('1 cell', '2 cells')
    """
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def coefficient(value: float) -> str:
    """A correlation, an overlap or another number of the order of one, to two decimals.

    Example:
        >>> coefficient(0.98765), coefficient(-0.001), coefficient(12.3)
        ('0.99', '0.00', '12.30')
    """
    # no minus sign before a zero
    return f"{round(value, 2) + 0.0:.2f}"


def p_value(value: float) -> str:
    """A p value to two significant digits, or to three decimals from 0.1 on.

    Example:
        >>> p_value(0.047619), p_value(0.5), p_value(1.23e-7)
        ('0.048', '0.500', '1.2e-07')
    """
    return f"{value:.3f}" if value >= 0.1 else f"{value:#.2g}"


def some(names: Sequence[str], most: int = 20) -> str:
    """The first of many names, and how many more there are.

    Example:
        >>> some(["a", "b", "c"], most=2), some(["a", "b"])
        ('a, b and 1 more', 'a, b')
    """
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def too_many(amount: int, noun: str) -> str:
    """Why a figure of so many things is not drawn; empty for a figure that can be.

    Example:
        >>> too_many(20_000, "value")
        '20,000 values cannot be told apart in a figure, which has 1,000 at most'
        >>> too_many(1000, "value")
        ''
    """
    if amount <= MOST_VALUES:
        return ""
    return f"{quantity(amount, noun)} cannot be told apart in a figure, which has 1,000 at most"
