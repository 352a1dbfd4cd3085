"""Passwords and tokens.

A password is kept as argon2id, computed in a few threads behind a bounded queue: when the queue is full the
caller is told to come back, because hashing without bound is the cheapest way to stop a server. A token is
32 random bytes; only its SHA-256 is kept, so it can be revoked and a stolen database opens nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from talkamie.server.service import PasswordCost, Problem

T = TypeVar("T")

ACCESS_TOKEN_MS = 24 * 3600 * 1000
REFRESH_TOKEN_MS = 30 * ACCESS_TOKEN_MS
MAX_WAITING = 256

# realistic: OWASP's first choice for argon2id (19 MiB, 2 passes). light: the least argon2 can do, so that
# signing in measures the API and not the hash.
_COSTS: dict[PasswordCost, tuple[int, int]] = {"light": (1, 8), "realistic": (2, 19_456)}


class Passwords:
    """Hashes and checks passwords at one cost, at most `MAX_WAITING` at a time."""

    def __init__(self, cost: PasswordCost) -> None:
        passes, memory_kib = _COSTS[cost]
        self.cost = cost
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._executor = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="argon2")
        self._waiting = 0
        # Unknown users are checked against this, so that they take as long as known ones.
        self._dummy = self._hasher.hash(secrets.token_hex(16))

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(_bytes(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Tell whether `password` made `stored`; nothing stored takes as long and is never right."""
        return await self._run(lambda: self._check(stored or self._dummy, password)) and stored is not None

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _check(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, _bytes(password))
        except VerificationError:
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Problem(503, "Too many passwords to check at once. Try again.", retry_after_s=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._waiting -= 1


def _bytes(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode()


def new_token() -> str:
    return secrets.token_urlsafe(32)


def token_hash(token: str | bytes) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode() if isinstance(token, str) else token).hexdigest()


def email_key(email: str) -> str:
    """Return the one spelling of an address: trimmed, casefolded, compatibility forms folded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", email.strip()).casefold())
