"""What this machine has room for is computed, and asked for."""

from __future__ import annotations

import resource

import pytest

from loadtests import sockets


def test_an_address_is_used_for_a_quarter_of_its_ports_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is enough for few connections; there are 254, and one where the range is not known."""
    monkeypatch.setattr(sockets, "ports", lambda: (1001, 2000))
    assert [sockets.sources(each) for each in (0, 1, 250, 251, 10_000, 10**6)] == [1, 1, 1, 2, 40, 254]
    monkeypatch.setattr(sockets, "ports", lambda: None)
    assert sockets.sources(10_000) == 1


def test_the_range_of_ports_is_the_kernels() -> None:
    """As it is on any Linux."""
    found = sockets.ports()
    assert found is not None
    assert 0 < found[0] < found[1] < 65_536


def test_only_loopback_is_reached_from_several_addresses() -> None:
    """IPv6 has one address for it, and a name may be either."""
    assert [sockets.spreads(host) for host in ("127.0.0.1", "127.9.9.9", "10.0.0.1", "::1", "localhost")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 1 << 20), (65_536, 1 << 20)),
        ((100_000, 1 << 20), (100_000, 1 << 20)),
    ],
)
def test_as_many_files_are_asked_for_as_there_may_be(
    limits: tuple[int, int], expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The soft limit goes up to the hard one, as far as anybody needs; it never goes down."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: asked.append(wanted))
    assert sockets.files() == expected
    sockets.allow_files()
    assert asked == [expected]
