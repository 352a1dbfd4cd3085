"""Columns of a table on disk, each read when it is asked for: what makes an hour of load fit into memory.

Rule: a column comes block by block into one array, numbers as they are, names as small codes. Narrow columns
stay in memory. Wide ones, instants and durations, stay as long as all of them together take no more than
KEPT: the one that was not asked for the longest is dropped, and read again when it is. So the figures of a
run of any length are exact (every quantile is a value that was recorded), and those of a small run are made
in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT = 128 << 20
"""Bytes: so many that a column of instants stays up to some 16 million rows."""

Column: TypeAlias = "NDArray[Any] | pd.Categorical"


@dataclass(frozen=True, slots=True)
class Formula:
    """A column that is made from others: of each block, right after that was read."""

    inputs: tuple[str, ...]
    of: Callable[..., NDArray[Any]]


def minus(one: str, other: str) -> Formula:
    """Return the formula of a difference."""
    return Formula((one, other), np.subtract)


class Memory:
    """The columns that were read, of as many tables as share it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Columns, str], Column] = {}

    def get(self, table: Columns, name: str, read: Callable[[str], Column]) -> Column:
        """Return a column, read if need be."""
        found = self._kept.pop((table, name), None)
        if found is None:
            self._make_room(8 * table.rows)  # first, because it will be beside those that are kept
            found = read(name)
        if found.nbytes <= KEPT:
            self._kept[table, name] = found  # the last one is the one that was asked for last
        return found

    def _make_room(self, needed: int) -> None:
        wide = {key: each.nbytes for key, each in self._kept.items() if each.nbytes >= 8 * len(each)}
        taken = needed + sum(wide.values())
        for key, size in wide.items():
            if taken > KEPT:
                taken -= size
                del self._kept[key]


class Columns:
    """A table's columns by name. `blocks` gives some of them, in this order, block after block of rows."""

    def __init__(
        self,
        blocks: Callable[[Sequence[str]], Iterator[pa.Table]],
        rows: int,
        formulas: Mapping[str, Formula],
        memory: Memory,
    ) -> None:
        self.rows = rows
        self.every = Rows(self, np.ones(rows, dtype=np.bool_))
        self._blocks, self._formulas, self._memory = blocks, formulas, memory

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers, or what a formula makes."""
        found = self.column(name)
        assert isinstance(found, np.ndarray), name
        return found

    def names(self, name: str) -> pd.Categorical:
        """Return a column of names."""
        found = self.column(name)
        assert isinstance(found, pd.Categorical), name
        return found

    def texts(self, name: str, mask: NDArray[np.bool_]) -> list[str]:
        """Return those texts of a column that are at the marked rows: they are too many to keep them all."""
        found: list[str] = []
        begin = 0
        for block in self._blocks([name]) if mask.any() else ():
            found += block[name].filter(pa.array(mask[begin : begin + len(block)])).to_pylist()
            begin += len(block)
        return found

    def column(self, name: str) -> Column:
        """Return a column of either sort."""
        return self._memory.get(self, name, self._read)

    def _read(self, name: str) -> Column:
        formula = self._formulas.get(name, Formula((name,), lambda column: column))
        codes: dict[str, int] = {}
        found: NDArray[Any] | None = None
        begin = 0
        for block in self._blocks(formula.inputs):
            fresh = formula.of(*(_array(block[each], codes) for each in formula.inputs))
            if found is None:
                found = np.empty(self.rows, dtype=fresh.dtype)
            found[begin : begin + len(block)] = fresh
            begin += len(block)
        pa.default_memory_pool().release_unused()
        if codes:
            assert found is not None
            return pd.Categorical.from_codes(found, categories=pd.Index(list(codes), dtype=object))
        return np.empty(0, dtype=np.int64) if found is None else found


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a table: a mark for each row that there is."""

    columns: Columns
    mask: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(np.count_nonzero(self.mask))

    def where(self, mask: NDArray[np.bool_]) -> Rows:
        """Return those of them that are marked in all rows of the table."""
        return Rows(self.columns, self.mask & mask)

    def among(self, name: str, *wanted: Any) -> Rows:
        """Return those of them that have one of these values, or names, in a column."""
        if not len(self.mask):
            return self
        column = self.columns.column(name)
        if isinstance(column, pd.Categorical):
            codes = column.categories.get_indexer(pd.Index(wanted, dtype=object))
            column, wanted = column.codes, tuple(codes[codes >= 0])
        mask = np.zeros(len(self.mask), dtype=np.bool_)
        for each in wanted:
            mask |= column == each
        return self.where(mask)

    def values(self, name: str) -> NDArray[Any]:
        """Return a column of numbers of these rows."""
        return self.columns.numbers(name)[self.mask] if len(self.mask) else np.empty(0, dtype=np.int64)

    def counts(self, name: str) -> dict[str, int]:
        """Return how many of these rows have each name, in the order of the names; none that has no row."""
        if not len(self.mask):
            return {}
        column = self.columns.names(name)
        count = np.bincount(column.codes[self.mask], minlength=len(column.categories))
        return {str(each): int(n) for each, n in sorted(zip(column.categories, count, strict=True)) if n}

    def frame(self, *names: str) -> pd.DataFrame:
        """Return these columns of these rows; texts, which are not kept, are read by `texts`."""
        if not len(self.mask):
            return pd.DataFrame({name: pd.Series(dtype=object) for name in names})
        found = {name: self.columns.column(name) for name in names}
        if not self.mask.all():
            found = {name: column[self.mask] for name, column in found.items()}
        return pd.DataFrame(found, copy=False)

    def texts(self, name: str) -> list[str]:
        """Return a column of texts of these rows."""
        return self.columns.texts(name, self.mask)


def _array(column: pa.ChunkedArray, codes: dict[str, int]) -> NDArray[Any]:
    """Return a block's numbers; of names the codes, new ones added to `codes`."""
    if not (pa.types.is_dictionary(column.type) or pa.types.is_string(column.type)):
        return np.asarray(column.to_numpy())
    coded = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    chunk = coded.combine_chunks()
    dictionary = chunk.dictionary.to_pylist()
    code = np.array([codes.setdefault(name, len(codes)) for name in dictionary], dtype=np.int32)
    return code[chunk.indices.to_numpy()] if len(code) else np.empty(0, dtype=np.int32)
