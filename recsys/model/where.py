"""Filter items by simple expressions over their columns, such as `year >= 1990`.

Expressions have the syntax of Python, but none is evaluated: they are read into a tree, of which a
few kinds of nodes are known and all others refused.

| | |
|---|---|
| `year >= 1990`, `1980 <= year < 1990`, `price != 0` | numbers; what is not known never matches |
| `year in (1994, 1999)`, `studio not in ('A', 'B')` | one of several |
| `'Comedy' in genres`, `'War' not in genres` | an entry of a list |
| `title == 'Fargo'`, `'Star' in title` | a text, and a part of it; the case counts |
| `in_stock` | a number that is not 0 |
| `and`, `or`, `not`, parentheses | |
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
_LONGEST = 10_000  # characters


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
        return _holds(ast.parse(where.strip(), mode="eval").body, columns)
    except SyntaxError as error:
        problem = f"{error.msg} at character {error.offset}"
    except (RecursionError, MemoryError):
        problem = "nested too deeply"
    except (ValueError, OverflowError) as error:
        problem = str(error)
    shown = where if len(where) <= 80 else f"{where[:80]}..."
    raise ValueError(f"where={shown!r}: {problem}")


def _holds(node: ast.expr, columns: Columns) -> Mask:
    match node:
        case ast.BoolOp(op, parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return np.asarray(join.reduce([_holds(part, columns) for part in parts]))
        case ast.UnaryOp(ast.Not(), part):
            return np.logical_not(_holds(part, columns))
        case ast.Compare(first, operators, rest):
            sides = [first, *rest]
            pairs = zip(sides, operators, sides[1:], strict=False)
            return np.asarray(np.logical_and.reduce([_compare(*pair, columns) for pair in pairs]))
        case ast.Name(name):
            column = _named(name, columns)
            if isinstance(column, np.ndarray):
                return np.asarray((column != 0) & ~np.isnan(column))
            raise ValueError(f"column {name!r} is not numeric: compare it with a text in quotes")
    raise ValueError(f"{ast.unparse(node)!r} is not a comparison of a column with a value")


def _named(name: str, columns: Columns) -> Column:
    if name not in columns:
        known = ", ".join(columns) or "none; give `fit` a table of items"
        hint = " (texts go in quotes)" if columns else ""
        raise ValueError(f"there is no column {name!r} of items{hint}; there are: {known}")
    return columns[name]


def _compare(left: ast.expr, comparison: ast.cmpop, right: ast.expr, columns: Columns) -> Mask:
    if isinstance(comparison, ast.NotIn):
        held = ~_compare(left, ast.In(), right, columns)
        column = columns.get(left.id) if isinstance(left, ast.Name) else None
        return held & ~np.isnan(column) if isinstance(column, np.ndarray) else held
    if isinstance(comparison, ast.In) and isinstance(right, ast.Name):
        column, value = _named(right.id, columns), _value(left)
        if isinstance(column, np.ndarray) or not isinstance(value, str):
            raise ValueError(f"column {right.id!r} cannot contain {value!r}: 'in' looks for text")
        if isinstance(column, Lists):
            return column.having(value)
        return np.array([value in text for text in column], bool)
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
        values = [_value(value) for value in right.elts]
        same = [_apply(operator.eq, left.id, column, value) for value in values]
        return np.asarray(np.logical_or.reduce([np.zeros(len(column), bool), *same]))
    if type(comparison) not in _COMPARISONS:
        raise ValueError("'is' is not known: use == or !=")
    return _apply(_COMPARISONS[type(comparison)], left.id, column, _value(right))


def _apply(compare: Any, name: str, column: Any, value: float | str) -> Mask:
    if isinstance(value, str) is not isinstance(column, TextColumn):
        if isinstance(value, str):
            raise ValueError(f"column {name!r} is numeric; got text {value!r}")
        raise ValueError(f"column {name!r} is text; got the number {value!r}")
    if isinstance(column, TextColumn):
        return np.array([compare(text, value) for text in column], bool)
    return np.asarray(compare(column, value) & ~np.isnan(column))


def _value(node: ast.expr) -> float | str:
    match node:
        case ast.Constant(bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
            return -value
    raise ValueError(f"{ast.unparse(node)!r} is neither a number nor a text in quotes")
