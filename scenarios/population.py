"""Who has an account before a run begins: people who are made for it, or those of a file.

A file of existing accounts is a CSV with a header, or JSON, one object a line (`*.jsonl`):

    email      required
    role       senior or volunteer
    password   they sign in with it; or
    token      they are signed in already
    name       for being found: see `Population.people`

Passwords and tokens are in nobody's output: not in an error, not in the run.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from scenarios.people import Person, person
from scenarios.workload import WorkloadError, read_text
from talkamie.contract import UserType

LARGEST_FILE = 64 << 20  # bytes
KINDS: dict[str, UserType] = {"senior": "senior", "volunteer": "volunteer", "lurker": "senior"}
"""The type of account that each kind of people has."""


class Account(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of a file."""

    email: str
    role: UserType
    password: str = ""
    token: str = ""
    name: str = ""


class Population(Struct, frozen=True, kw_only=True):
    """How many people of each kind have an account, and where they come from."""

    tag: str = ""  # in the names of those who were made
    counts: dict[str, int] = {}  # by kind: senior, volunteer, lurker
    file: str = ""  # of existing accounts; "": they were made

    def people(self, seed: int) -> dict[str, list[Person]]:
        """Return them by kind, always the same for one seed. Raises WorkloadError.

        Those of a file find one another by the one word that all their names have in common. Without such a
        word they meet nobody new: nobody else's account is ever written to.
        """
        if self.file:
            return self._of_file(seed)
        secret = f"{random.Random(f'{seed}:{self.tag}:password').getrandbits(64):016x}"
        return {
            kind: [
                # One password for all: a hash is dear, and the target makes one for each password.
                replace(_numbered(seed, kind, rank, self.tag), password=secret)
                for rank in range(count)
            ]
            for kind, count in self.counts.items()
        }

    def _of_file(self, seed: int) -> dict[str, list[Person]]:
        accounts = read_accounts(Path(self.file))
        words = reduce(set.intersection, (set(each.name.split()) for each in accounts))
        tag = words.pop() if len(words) == 1 else self.tag
        left = {role: iter([each for each in accounts if each.role == role]) for role in KINDS.values()}
        found: dict[str, list[Person]] = {}
        for kind, count in self.counts.items():  # seniors before lurkers
            some = zip(range(count), left[KINDS[kind]], strict=False)
            found[kind] = [_of(each, _numbered(seed, kind, rank, tag)) for rank, each in some]
        return found


def _numbered(seed: int, kind: str, rank: int, tag: str) -> Person:
    return replace(person(seed, f"{kind}-{rank}", type=KINDS[kind], tag=tag), known=True)


def _of(account: Account, someone: Person) -> Person:
    return replace(
        someone,
        name=account.name,
        email=account.email,
        password=account.password,
        token=account.token,
    )


def read_accounts(path: Path) -> list[Account]:
    """Return the accounts of a file. Raises WorkloadError naming the file, the line and what is wrong."""
    text = read_text(path, "a file of accounts", largest=LARGEST_FILE)
    found: dict[str, Account] = {}
    for number, row in _rows(path, text):
        try:
            account = msgspec.convert(row, Account)
        except msgspec.ValidationError as error:
            raise WorkloadError(f"{path}:{number}: {error}") from None
        if not account.password and not account.token:
            raise WorkloadError(f"{path}:{number}: expected a password, or a token")
        if not account.token.isascii() or not account.token.isprintable() or " " in account.token:
            raise WorkloadError(f"{path}:{number}: token: can't stand in a header: expected visible ASCII")
        if account.email in found:
            raise WorkloadError(f"{path}:{number}: email: {account.email} is there twice")
        found[account.email] = account
    if not found:
        raise WorkloadError(f"{path}: no account in it")
    return list(found.values())


def _rows(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """Yield each line's number and its fields."""
    if path.suffix == ".csv":
        reader = csv.DictReader(text.splitlines(), restkey="(too many fields)")
        if set(reader.fieldnames or ()) - set(Account.__struct_fields__):
            # Without the names that are there: where the header is missing they are somebody's account.
            wanted = ", ".join(Account.__struct_fields__)
            raise WorkloadError(f"{path}:1: expected a header with some of {wanted}, and nothing else")
        try:
            for row in reader:
                yield reader.line_num, {key: value for key, value in row.items() if value is not None}
        except csv.Error as error:
            raise WorkloadError(f"{path}:{reader.line_num}: {error}") from None
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line)
            except (msgspec.DecodeError, RecursionError):
                raise WorkloadError(f"{path}:{number}: expected a JSON object") from None
