"""Reads a TOML file into a structure, or names the mistake: file, line, key, and what was expected there."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct

from scenarios.arrivals import SHAPES

MAX_BYTES = 1_000_000
Table = TypeVar("Table", bound=Struct)


class WorkloadError(Exception):
    """A scenario that can't be run. The message names the file, the line and the key."""


def parse_as(kind: type[Table], text: str, file: str) -> Table:
    """Return the tables of another file than a scenario, with its mistakes named in the same way."""
    return convert(loads(text, file), kind, partial(place, file, text))


def loads(text: str, file: str) -> dict[str, Any]:
    """Return the tables of a text. Raises WorkloadError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WorkloadError(f"{file}: this is not TOML: {error}") from None
    except RecursionError:
        raise WorkloadError(f"{file}: tables are nested too deeply; two levels are enough") from None


def convert(
    data: dict[str, Any], kind: type[Table], where: Callable[[list[str]], str], beside: Sequence[str] = ()
) -> Table:
    """Return the structure of a kind. `where` places keys; fields `beside` the file aren't expected in it.

    Raises WorkloadError.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise WorkloadError(_explain(str(error), kind, where, beside)) from None


def read_text(path: Path, what: str = "a scenario", *, largest: int = MAX_BYTES) -> str:
    """Return the text of a file in UTF-8, with or without a mark of it. Raises WorkloadError."""
    try:
        if not path.is_file():
            raise WorkloadError(f"{path}: there is no such file")
        if path.stat().st_size > largest:
            raise WorkloadError(f"{path}: larger than {largest:,} bytes; this is not {what}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WorkloadError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except (OSError, ValueError) as error:
        raise WorkloadError(f"{path!s:.200}: can't be read: {error}") from None


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`(?: - at `\$(?P<path>[^`]*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]*)`(?: - at `\$(?P<path>[^`]*)`)?")
_WRONG = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>[^`]*)`)?$", re.S)


def _explain(error: str, root: type[Struct], place: Callable[[list[str]], str], beside: Sequence[str]) -> str:
    """Turn a message of msgspec into one with a line number and, for a typing mistake, the nearest key."""
    if found := _UNKNOWN.search(error):
        keys = [*_keys(found["path"]), found["key"]]
        known = [key for key in _known_keys(root, keys[:-1]) if len(keys) > 1 or key not in beside]
        hint = nearest(found["key"], known)
        return f"{place(keys)}: unknown key{hint}: expected one of {', '.join(known)}"
    if found := _MISSING.search(error):
        where = _keys(found["path"])
        return f"{place(where)}: missing key {'.'.join([*where, found['key']])}"
    found = _WRONG.match(error)
    assert found
    keys, what = _keys(found["path"]), f"{found['what'][0].lower()}{found['what'][1:]}"
    if keys[-1:] == ["shape"]:
        shapes = [str(shape.__struct_config__.tag) for shape in SHAPES]
        what += f"{nearest(what.split(chr(39))[1], shapes)}: expected one of {', '.join(shapes)}"
    return f"{place(keys)}: {what}"


def _keys(path: str | None) -> list[str]:
    """Return the keys of a path; of all lists only a segment's has its number."""
    return [key for key in re.sub(r"(?<!arrivals)\[(\d+|\.{3})\]", "", path or "").split(".") if key]


def _known_keys(root: type[Struct], path: list[str]) -> list[str]:
    kind: Any = root
    for key in path:
        if key.startswith("arrivals["):
            fields = [each.encode_name for shape in SHAPES for each in msgspec.structs.fields(shape)]
            return ["shape", *dict.fromkeys(fields)]
        kind = next((each.type for each in msgspec.structs.fields(kind) if each.encode_name == key), None)
        # Of alternatives, the one that has keys.
        kind = next((each for each in get_args(kind) if isinstance(each, type(Struct))), kind)
    return [each.encode_name for each in msgspec.structs.fields(kind)] if kind else []


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a question after the known word that was probably meant, "" where none is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def place(file: str, text: str, keys: list[str], chosen: Sequence[list[str]] = ()) -> str:
    """Return `file:line: key`, with the line of a key or of what it is in, if that can be found.

    What was `chosen` stands on no line: `--set key`.
    """
    if not keys:
        return file
    bare = [key.split("[")[0] for key in keys]
    if any(bare[: len(choice)] == choice for choice in chosen):
        return f"--set {'.'.join(keys)}"
    table, line_of_table, segment = "", 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[+)\s*([^\]]+?)\s*\]", line):
            table = header[2]
            if header[1] == "[[":
                table, segment = f"{table}[{segment}]", segment + 1
            if keys == table.split("."):
                line_of_table = number
            if ".".join(keys[:-1]) == table or keys[0] == table:
                line_of_table = line_of_table or number
        elif entry := re.match(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w.-]+))\s*=""", line):
            key = next(part for part in entry.groups() if part is not None)
            above = table.split(".") if table else []
            if any(head == keys[: len(head)] for head in ([*above, key], [*above, *key.split(".")])):
                return f"{file}:{number}: {'.'.join(keys)}"
    if line_of_table:
        return f"{file}:{line_of_table}: {'.'.join(keys)}"
    made = any(choice[: len(keys)] == keys for choice in chosen)  # a table that is not in the file
    return f"{'--set ' if made else file + ': '}{'.'.join(keys)}"
