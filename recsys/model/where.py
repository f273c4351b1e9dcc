"""Filter items by simple expressions over their columns, such as `year >= 1990`.

Expressions have the syntax of Python, but none is evaluated: they are read into a tree, of which a
few kinds of nodes are known and all others refused.

| | |
|---|---|
| `year >= 1990`, `1980 <= year < 1990`, `price != 0` | numbers |
| `year in (1994, 1999)`, `studio not in ('A', 'B')` | one of several |
| `'Comedy' in genres`, `'War' not in genres` | an entry of a list |
| `title == 'Fargo'`, `'Star' in title` | a text, and a part of it; the case counts |
| `in_stock` | a number that is not 0 |
| `and`, `or`, `not`, parentheses | |

What is not known of an item never matches, not even negated, as in SQL: neither `year > 1990` nor
`not year > 1990` holds for an item without a year. Empty texts and lists are not known.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import Lists, TextColumn

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys.data.columns import Column

    Mask = npt.NDArray[np.bool_]
    Truth = tuple[Mask, Mask]  # for which items something holds, and for which it does not
    Columns = Mapping[str, Column]  # of one length, n_items

_COMPARISONS: dict[type[ast.cmpop], Any] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_TURNED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
_LONGEST, _MOST = 10_000, 20  # characters, comparisons: one takes up to 5 ms for 100,000 items


def matching(where: str, columns: Columns) -> Mask:
    """Tell for which items an expression holds, bool array (n_items,).

    Raises
    ------
    ValueError
        It cannot be read, or does not fit the columns, whose names it uses.

    Examples
    --------
    >>> columns = {"year": np.array([1972.0, 1995.0]), "genres": Lists.of([["Crime"], ["War"]])}
    >>> matching("year < 1990 or 'War' in genres", columns).tolist()
    [True, True]
    """
    try:
        if len(where) > _LONGEST:
            raise ValueError(f"longer than {_LONGEST:,} characters")
        tree = _parse(where.strip())
        parts = [
            node for node in ast.walk(tree) if isinstance(node, ast.cmpop | ast.Not | ast.Name)
        ]
        if len(parts) > 2 * _MOST:  # a name and an operator each
            raise ValueError(
                f"more than {_MOST} comparisons: `in` compares with many values at once"
            )
        return _holds(tree.body, columns)[0]
    except SyntaxError as error:
        problem = f"{error.msg} at character {error.offset}"
    except (RecursionError, MemoryError):
        problem = "nested too deeply"
    except (ValueError, OverflowError) as error:
        problem = str(error)
    shown = where if len(where) <= 80 else f"{where[:80]}..."
    raise ValueError(f"where={shown!r}: {problem}")


def _parse(where: str) -> ast.Expression:
    """Parse an expression, again if another thread was parsing too.

    Python 3.11 counts the depth of all threads' trees together and may raise SystemError then:
    https://github.com/python/cpython/issues/106905
    """
    while True:
        try:
            return ast.parse(where, mode="eval")
        except SystemError:
            continue


def _holds(node: ast.expr, columns: Columns) -> Truth:
    match node:
        case ast.BoolOp(op, parts):
            return _join(isinstance(op, ast.And), [_holds(part, columns) for part in parts])
        case ast.UnaryOp(ast.Not(), part):
            return _holds(part, columns)[::-1]
        case ast.Compare(first, operators, rest):
            sides = [first, *rest]
            pairs = zip(sides, operators, sides[1:], strict=False)
            return _join(True, [_compare(*pair, columns) for pair in pairs])
        case ast.Name(name):
            column = _named(name, columns)
            if isinstance(column, np.ndarray):
                return _where_known(column != 0, column)
            raise ValueError(f"column {name!r} is not numeric: compare it with a text in quotes")
    raise ValueError(f"{ast.unparse(node)!r} is not a comparison of a column with a value")


def _join(every: bool, parts: list[Truth]) -> Truth:
    """Say where all of the parts hold, or any."""
    yes, no = zip(*parts, strict=True)
    both, either = np.logical_and.reduce, np.logical_or.reduce
    return (both(yes), either(no)) if every else (either(yes), both(no))


def _where_known(mask: Mask, column: Column) -> Truth:
    if isinstance(column, np.ndarray):
        known = ~np.isnan(column)
    else:
        known = np.diff(column.ends, prepend=0) > 0
    return mask & known, known & ~mask


def _named(name: str, columns: Columns) -> Column:
    if name not in columns:
        known = ", ".join(columns) or "none; give `fit` a table of items"
        hint = " (texts go in quotes)" if columns else ""
        raise ValueError(f"there is no column {name!r} of items{hint}; there are: {known}")
    return columns[name]


def _compare(left: ast.expr, comparison: ast.cmpop, right: ast.expr, columns: Columns) -> Truth:
    if isinstance(comparison, ast.NotIn):
        return _compare(left, ast.In(), right, columns)[::-1]
    if isinstance(comparison, ast.In) and isinstance(right, ast.Name):
        column, value = _named(right.id, columns), _value(left)
        if isinstance(column, np.ndarray) or not isinstance(value, str):
            raise ValueError(f"column {right.id!r} cannot contain {value!r}: 'in' looks for text")
        held = column.having(value) if isinstance(column, Lists) else _containing(column, value)
        return _where_known(held, column)
    if isinstance(right, ast.Name) and not isinstance(left, ast.Name):
        left, right = right, left
        comparison = _TURNED.get(type(comparison), type(comparison))()
    if not isinstance(left, ast.Name):
        raise ValueError(f"{ast.unparse(left)!r} is not a column")
    column = _named(left.id, columns)
    if isinstance(column, Lists):
        raise ValueError(f"column {left.id!r} holds lists: write 'text' in {left.id}")
    if isinstance(comparison, ast.In):
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            raise ValueError(f"{ast.unparse(right)!r} is neither a column nor several values")
        values = [_fitting(_value(value), left.id, column) for value in right.elts]
        return _where_known(_one_of(column, values), column)
    if type(comparison) not in _COMPARISONS:
        raise ValueError("'is' is not known: use == or !=")
    compare, value = _COMPARISONS[type(comparison)], _fitting(_value(right), left.id, column)
    if isinstance(column, TextColumn):
        return _where_known(compare(_order(column, str(value)), 0), column)
    return _where_known(compare(column, value), column)


def _fitting(value: float | str, name: str, column: Column) -> float | str:
    if isinstance(value, str) is isinstance(column, TextColumn):
        return value
    if isinstance(value, str):
        raise ValueError(f"column {name!r} is numeric; got text {value!r}")
    raise ValueError(f"column {name!r} is text; got the number {value!r}")


# Texts are compared as bytes, all at once; UTF-8 is in the order of Python's texts.


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _starts(column: TextColumn) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], column.ends[:-1]])


def _one_of(column: Column, values: list[Any]) -> Mask:
    """Tell which numbers or texts are among some values, bool array (n_items,)."""
    if not isinstance(column, TextColumn):
        return np.isin(column, np.array(values, np.float64))
    starts, found = _starts(column), np.zeros(len(column), bool)
    lengths, wanted = column.ends - starts, [*map(_bytes, values)]
    for length in {*map(len, wanted)} - {0}:
        rows = np.flatnonzero(lengths == length)
        texts = column.data[starts[rows, None] + np.arange(length)].view(f"S{length}")[:, 0]
        found[rows] = np.isin(texts, [one for one in wanted if len(one) == length])
    return found


def _order(column: TextColumn, text: str) -> npt.NDArray[np.int8]:
    """Tell which texts come before a text (-1), are equal (0) or come after it (1)."""
    starts, wanted = _starts(column), _bytes(text)
    lengths, order = column.ends - starts, np.zeros(len(column), np.int8)
    rows = np.arange(len(column))  # those that are equal so far
    for place, byte in enumerate(wanted):
        ended = lengths[rows] <= place
        order[rows[ended]] = -1
        rows = rows[~ended]
        found = column.data[starts[rows] + place]
        order[rows] = np.where(found < byte, -1, found > byte)
        rows = rows[found == byte]
        if len(rows) == 0:
            break
    order[rows] = lengths[rows] > len(wanted)
    return order


def _containing(column: TextColumn, text: str) -> Mask:
    """Tell which texts have a text in them, bool array (n_items,)."""
    wanted, found = _bytes(text), np.full(len(column), not text)
    if text:
        places = np.flatnonzero(
            column.data[: max(0, len(column.data) - len(wanted) + 1)] == wanted[0]
        )
        for step, byte in enumerate(wanted[1:], start=1):
            places = places[column.data[places + step] == byte]
        rows = np.searchsorted(column.ends, places, side="right")
        found[rows[places + len(wanted) <= column.ends[rows]]] = True
    return found


def _value(node: ast.expr) -> float | str:
    match node:
        case ast.Constant(bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
            return -value
    raise ValueError(f"{ast.unparse(node)!r} is neither a number nor a text in quotes")
