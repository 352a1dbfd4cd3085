"""reports.sample: the document of the format says what the code says."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from reports.artefact import Manifest
from reports.sample import DELIVERIES, HISTOGRAMS, PARTS, Accepted, Fate, Kind, Outcome, Wait

README = (Path(__file__).parents[2] / "reports" / "README.md").read_text()
TABLES = {**PARTS, "deliveries": DELIVERIES, "histograms": HISTOGRAMS}


def section(title: str) -> str:
    """Return the text below a heading, up to the next one."""
    return re.split(r"^#+ ", README.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(title: str) -> list[list[str]]:
    """Return the cells of each row of the section's table whose first one is code."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def told(kind: pa.DataType) -> str:
    return "name" if pa.types.is_dictionary(kind) else str(kind)


def fields(struct: type[msgspec.Struct], prefix: str = "") -> list[str]:
    """Return the dotted names of all fields of a struct and of those within."""
    found = []
    for name, kind in typing.get_type_hints(struct).items():
        listed = typing.get_origin(kind) is list
        inner = next(iter(typing.get_args(kind)), kind)  # of a list, or of what may be null
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found += fields(inner, f"{prefix}{name}{'[]' if listed else ''}.")
        else:
            found.append(prefix + name)
    return found


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_column_is_documented(name: str) -> None:
    """The README lists exactly the columns of each table, in order, with their types."""
    assert [[f.name, told(f.type)] for f in TABLES[name]] == [cells[:2] for cells in first_cells(name)]


def test_every_field_of_the_manifest_is_documented() -> None:
    """The README lists exactly the fields of the manifest."""
    assert sorted(fields(Manifest)) == sorted(cells[0] for cells in first_cells("manifest.json"))


def test_every_value_is_documented() -> None:
    """The README tells every fate, and the number of every kind, outcome and acceptance."""
    fates = next(cells[2] for cells in first_cells("deliveries") if cells[0] == "fate")
    assert [fate.value for fate in Fate] == re.findall(r"[a-z-]+", fates.replace("or", ""))
    for table, column, values in (
        ("samples", "kind", Kind),
        ("samples", "outcome", Outcome),
        ("sends", "accepted", Accepted),
        ("waits", "what", Wait),
    ):
        meaning = next(cells[2] for cells in first_cells(table) if cells[0] == column)
        assert [int(value) for value in values] == [int(n) for n in re.findall(r"\b\d\b", meaning)]
