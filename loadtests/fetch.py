"""Brings files from other hosts' workers here. (To be written.)"""

from __future__ import annotations
from typing import Any


class Fetcher:
    def __init__(self, runner: Any) -> None: ...
    def fetch(self, hands: Any, folder: Any) -> None: ...
