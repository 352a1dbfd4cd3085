"""Reads a fault plan: which requests, pushes and connections are to go wrong, how, and when.

A plan is TOML, one `[[rule]]` for each fault. Every mistake in it is named with the file, the number of the
rule and the field. The rules that are told to go by a random number have one of their own, made of the seed
and their number: equal plan, seed and order of events give equal faults.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from talkamie.server import registry
from talkamie.server.faults.delays import DISTRIBUTIONS
from talkamie.server.faults.rules import ACTION, GROUPS, HANDSHAKE, HTTPS, PUSH, RULES, Places, Rule

MAX_BYTES = 1_000_000
MAX_RULES = 100


class PlanError(Exception):
    """A plan that can't be followed. The message names the file, the rule and the field."""


class Plan(Struct, frozen=True, kw_only=True):
    """A plan and its rules, each with the places that it is about, such as `https:get-user`."""

    name: str
    seed: int
    rules: list[Rule]
    places: list[list[str]]


def load(file: str, *, seed: int) -> Plan:
    """Return the plan in a file. Raises PlanError."""
    path = Path(file)
    try:
        if not path.is_file():
            raise PlanError(f"{path!s:.200}: there is no such file")
        if path.stat().st_size > MAX_BYTES:
            raise PlanError(f"{path!s:.200}: larger than {MAX_BYTES:,} bytes; this is no fault plan")
        return parse(path.read_bytes(), file=str(path), name=path.stem, seed=seed)
    except (OSError, ValueError) as error:
        raise PlanError(f"{path!s:.200}: can't be read: {error}") from None


def parse(text: bytes, *, file: str, name: str, seed: int) -> Plan:
    """Return the plan that `text` states. Raises PlanError naming `file`, the rule and the field."""
    try:
        data = tomllib.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise PlanError(f"{file}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except ValueError as error:  # TOMLDecodeError, and a number with too many digits
        raise PlanError(f"{file}: this is not TOML: {error}") from None
    except RecursionError:
        raise PlanError(f"{file}: nested too deeply; a plan has two levels") from None
    for key in data:
        if key != "rule":
            raise PlanError(f"{file}: unknown key {key!r:.100}: a plan has only [[rule]] tables")
    stated = data.get("rule", [])
    if not isinstance(stated, list) or not stated:
        raise PlanError(f"{file}: no rule: a plan has at least one [[rule]] table")
    if len(stated) > MAX_RULES:
        raise PlanError(f"{file}: {len(stated)} rules: a plan may have {MAX_RULES}")
    rules: list[Rule] = []
    places: list[list[str]] = []
    for number, each in enumerate(stated, 1):
        try:
            rules.append(_rule(each))
            places.append(_places(rules[-1]))
        except PlanError as error:
            raise PlanError(f"{file}: rule {number}: {error}") from None
    return Plan(name=name, seed=seed, rules=rules, places=places)


def known_places() -> list[str]:
    """Return all that a rule can be about: `https:NAME`, `action:NAME`, `push:NAME` and `handshake`."""
    actions = registry.actions(extras=True).values()
    return [
        *(f"{HTTPS}:{name}" for name in registry.operations(extras=True)),
        *(f"{ACTION}:{row.name}" for row in actions if row.request is not None),
        *(f"{PUSH}:{row.name}" for row in actions if row.push is not None),
        HANDSHAKE,
    ]


def _rule(data: Any) -> Rule:
    if not isinstance(data, dict):
        raise PlanError(f"expected a table, got {type(data).__name__}")
    fault = data.get("fault")
    if fault is None:
        raise PlanError(f"missing key fault: expected one of {', '.join(RULES)}")
    if not isinstance(fault, str) or fault not in RULES:
        raise PlanError(f"fault: {_no_such(fault, RULES)}")
    try:
        rule: Rule = msgspec.convert(data, RULES[fault])
    except msgspec.ValidationError as error:
        raise PlanError(_explain(str(error), data)) from None
    return rule


def _places(rule: Rule) -> list[str]:
    """Return what the rule is about, in the order of the contract. Raises PlanError for what is nothing."""
    where: Places = getattr(rule, "where", [])
    wanted = [where] if isinstance(where, str) else where
    known = known_places()
    found: set[str] = set()
    for each in wanted:
        places = [place for place in known if _is(place, each)]
        if not places:
            names = dict.fromkeys([*(p.partition(":")[2] or p for p in known), HTTPS, "wss", ACTION, PUSH])
            raise PlanError(
                f"where: there is no operation, action or push {each!r:.100}{_nearest(each, names)}"
            )
        fitting = [place for place in places if place.partition(":")[0] in rule.kinds]
        if not fitting:
            fault = rule.__struct_config__.tag
            raise PlanError(f"where: {each!r:.100} is none of what {fault} is for ({', '.join(rule.kinds)})")
        found.update(fitting)
    return [place for place in known if place in found]


def _is(place: str, pattern: str) -> bool:
    """Tell whether a pattern of a plan means a place: a kind, a group of kinds, or a name with wildcards."""
    kind, _, name = place.partition(":")
    if kind in GROUPS.get(pattern, (pattern,)):
        return True
    return fnmatchcase(name, pattern) or fnmatchcase(place, pattern)


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]*)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_WRONG = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.S)


def _explain(error: str, rule: dict[str, Any]) -> str:
    """Turn a message of msgspec about `rule` into one that begins with the field."""
    if found := _UNKNOWN.search(error):
        known = ["fault", *RULES[rule["fault"]].__struct_fields__]
        if found["path"]:
            known = ["distribution", *DISTRIBUTIONS[rule["delay"]["distribution"]].__struct_fields__]
        hint = f"{_nearest(found['key'], known)}: expected one of {', '.join(known)}"
        return f"unknown key {_dotted(found)}{hint}"
    if found := _MISSING.search(error):
        return f"missing key {_dotted(found)}"
    found = _WRONG.match(error)
    assert found
    if found["path"] == "delay.distribution":
        return f"delay.distribution: {_no_such(rule['delay']['distribution'], DISTRIBUTIONS)}"
    what = found["what"][0].lower() + found["what"][1:]
    return f"{found['path'].replace('[...]', '')}: {what}" if found["path"] else what


def _dotted(found: re.Match[str]) -> str:
    return ".".join(filter(None, (found["path"], found["key"])))


def _no_such(word: Any, known: Iterable[str]) -> str:
    return f"there is no {word!r:.100}{_nearest(str(word), known)}: expected one of {', '.join(known)}"


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
