"""TOML tables, read strictly: what is taken out is checked, and what is left over is an error.

A key that nobody reads is a misspelt one. Every complaint is a ValueError that names the key; whoever
reads the file adds where it is.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")
Table = dict[str, object]


def take(table: Table, key: str, kind: type[T]) -> T:
    """Remove and return `key`, so that what remains in the end is what nobody knows."""
    value = table.pop(key, None)
    if type(value) is not kind:
        raise ValueError(f"{key} is {value!r}; it must be of type {kind.__name__}")
    return value


def take_positive(table: Table, key: str) -> int:
    """A whole number above 0."""
    value = take(table, key, int)
    if value <= 0:
        raise ValueError(f"{key} is {value}; it must be positive")
    return value


def take_strings(table: Table, key: str) -> list[str]:
    """A list of nothing but strings."""
    values = take(table, key, list)
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key} must hold strings")
    return values


def take_table(table: Table, key: str) -> Table:
    """A table inside the table."""
    return as_table(table.pop(key, None), key)


def take_tables(table: Table, key: str) -> list[Table]:
    """A list of tables."""
    return [as_table(value, key) for value in take(table, key, list)]


def as_table(value: object, key: str) -> Table:
    """`value`, which is said to be a table."""
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {value!r}; it must be a table")  # noqa: TRY004 - one error kind
    return value


def nothing_left(table: Table) -> None:
    """Complain of the keys that nobody took."""
    if table:
        raise ValueError(f"unknown key {', '.join(sorted(table))}")
