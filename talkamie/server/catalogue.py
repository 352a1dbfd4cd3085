"""What is the same for everybody: lists that no user changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from talkamie.contract import Interest, Pagination, Search, Wire
from talkamie.server.registry import operation
from talkamie.server.service import Call, Cursor, Paged, cursor, given, iso

T = TypeVar("T", bound=Wire)


def catalogue(kind: type[T], letter: str, *rows: Sequence[str]) -> tuple[T, ...]:
    """Return entries of a kind whose first field is the id: made of a letter and the row's number."""
    return tuple(
        kind(**dict(zip(kind.__struct_fields__, (f"{letter}{number:02d}", *row), strict=True)))
        for number, row in enumerate(rows, start=1)
    )


INTERESTS = catalogue(
    Interest,
    "i",
    ("Art", "🎨"),
    ("Baking", "🥧"),
    ("Board games", "🎲"),
    ("Books", "📚"),
    ("Chess", "♟️"),
    ("Cinema", "🎬"),
    ("Cooking", "🍲"),
    ("Crosswords", "✏️"),
    ("Dancing", "💃"),
    ("Dogs and cats", "🐾"),
    ("Family", "👪"),
    ("Fishing", "🎣"),
    ("Gardening", "🌱"),
    ("History", "🏛️"),
    ("Knitting", "🧶"),
    ("Languages", "💬"),
    ("Music", "🎵"),
    ("Nature", "🌳"),
    ("Photography", "📷"),
    ("Poetry", "🪶"),
    ("Politics", "🗳️"),
    ("Sewing", "🧵"),
    ("Singing", "🎤"),
    ("Sport", "⚽"),
    ("Technology", "💻"),
    ("Theatre", "🎭"),
    ("Travel", "✈️"),
    ("Walking", "🚶"),
)


@operation("get-interests")
async def get_interests(call: Call, *, query: Search) -> Paged[list[Interest]]:
    """Return the catalogue of interests, by name."""
    return excerpt(INTERESTS, query)


def excerpt(entries: Sequence[T], query: Search) -> Paged[list[T]]:
    """Return a page of a catalogue, in its order: the entries that hold the keyword."""
    after = cursor(query)
    keyword = (given(query.keyword) or "").casefold()
    keyed = [(msgspec.to_builtins(entry), entry) for entry in entries]
    found = [
        (fields["id"], entry)
        for fields, entry in keyed
        if any(keyword in str(text).casefold() for name, text in fields.items() if name != "id")
        and (after is None or fields["id"] > after.id)
    ]
    shown = found[: query.page_size]
    data = [entry for _, entry in shown]
    if len(found) == len(shown):
        return Paged(data, msgspec.UNSET)
    end = Cursor(id=shown[-1][0], date_created=iso(0))
    return Paged(data, Pagination(last_evaluated_key=msgspec.to_builtins(end)))
