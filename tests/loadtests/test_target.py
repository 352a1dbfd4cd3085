"""Addresses are checked before anything is sent; a target that can't be used is refused with the reason."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from loadtests.target import AddressError, Server, Target, TargetError, address, preflight, tls_context


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A reference server of this module's own."""
    server = Server("--test-endpoints")
    try:
        yield server.ready()
    finally:
        server.stop()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_good_target_tells_of_itself(target: Target) -> None:
    """Preflight asks both halves, with certificates verified, and learns version and stage."""
    looked_at = preflight(target)
    assert looked_at.version
    assert looked_at.stage == "dev"
    assert looked_at.password_cost == "light"
    assert looked_at.processes == 1
    assert looked_at.local


def test_metrics_are_asked_for_where_the_process_is_not_ours_to_read(target: Target) -> None:
    """The reference server has them; of one that was started here they are not needed."""
    assert preflight(target).metrics == ""
    elsewhere = preflight(Target(target.https, target.wss, target.ca))
    assert elsewhere.metrics == target.https.removesuffix("/v1") + "/metrics"


def test_a_certificate_of_an_unknown_authority_is_refused(target: Target) -> None:
    """Without its CA the reference server is a stranger."""
    with pytest.raises(TargetError, match=r"certificate is not trusted.*--ca FILE"):
        preflight(Target(target.https, target.wss))


def test_an_address_where_nobody_listens_is_named() -> None:
    """Connection refused is said in words, with what to do."""
    port = free_port()
    with pytest.raises(TargetError, match="nobody listens there"):
        preflight(Target(f"http://127.0.0.1:{port}/v1", f"ws://127.0.0.1:{port}/"))


def test_both_halves_are_looked_at(target: Target) -> None:
    """A good https half does not excuse a dead wss half."""
    with pytest.raises(TargetError, match=r"wss://.*nobody listens"):
        preflight(Target(target.https, f"wss://127.0.0.1:{free_port()}/socket", target.ca))


def test_another_service_is_not_taken_for_the_api(target: Target) -> None:
    """The test endpoints answer http too, but not as the Talkamie API does."""
    with pytest.raises(TargetError, match="not as the Talkamie API"):
        preflight(Target(target.test, target.wss, target.ca))


@pytest.mark.parametrize(
    ("https", "wss", "complaint"),
    [
        ("ftp://127.0.0.1/", "wss://127.0.0.1/", "expected https://"),
        ("127.0.0.1:8443", "wss://127.0.0.1/", "expected https://"),
        ("https://", "wss://127.0.0.1/", "expected https://"),
        ("https://127.0.0.1:99999/", "wss://127.0.0.1/", "--target"),
        ("https://127.0.0.1/", "https://127.0.0.1/", "--socket .*expected wss://"),
        ("https://ann:secret@127.0.0.1/", "wss://127.0.0.1/", "no user or password"),
        ("https://[::1/", "wss://127.0.0.1/", "--target"),
    ],
)
def test_a_wrong_address_is_refused_before_anything_is_sent(https: str, wss: str, complaint: str) -> None:
    """Scheme, host, port, userinfo, and hosts that are not this machine: one sentence with the option."""
    with pytest.raises(AddressError, match=complaint) as caught:
        address(https, wss)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("https", "wss"),
    [
        ("https://192.0.2.7/", "wss://127.0.0.1/"),
        ("https://example.test/", "wss://127.0.0.1/"),
        ("https://2130706433/", "wss://127.0.0.1/"),
        ("https://0x7f.1/", "wss://127.0.0.1/"),
        ("https://127.0.0.1/", "wss://localhost.example.test/"),
        ("https://0.0.0.0/", "wss://127.0.0.1/"),
        ("https://169.254.169.254/", "wss://127.0.0.1/"),
        ("https://172.32.0.1/", "wss://127.0.0.1/"),
        ("https://10.1/", "wss://127.0.0.1/"),
        ("https://[::ffff:192.0.2.7]/", "wss://127.0.0.1/"),
        ("https://[fe80::1]/", "wss://127.0.0.1/"),
        ("https://127.0.0.1/", "wss://10.0.0.1.example.test/"),
    ],
)
def test_the_load_of_others_is_refused_whatever_they_allow(https: str, wss: str) -> None:
    """Public, link-local, by name, or by half a number: no flag opens those, and the target is unusable."""
    for private in (False, True):
        with pytest.raises(TargetError, match="load goes to this machine only") as caught:
            address(https, wss, private=private)
        assert not isinstance(caught.value, AddressError)


@pytest.mark.parametrize("host", ["10.0.0.1", "10.255.255.255", "172.16.0.1", "192.168.7.7", "[fd00::7]"])
def test_a_private_network_needs_a_word(host: str) -> None:
    """Refused with the flag that allows it, for each half; allowed with it."""
    far, near = f"//{host}:1/v1", "//127.0.0.1:1/"
    for https, wss in ((far, near), (near, far)):
        with pytest.raises(TargetError, match="say so with --allow-private") as caught:
            address(f"https:{https}", f"wss:{wss}")
        assert not isinstance(caught.value, AddressError)
        assert address(f"https:{https}", f"wss:{wss}", private=True).wss == f"wss:{wss}"


def test_loopback_in_its_usual_spellings_is_allowed() -> None:
    """IPv4, IPv6 and by name."""
    for host in ("127.0.0.1", "127.8.9.1", "[::1]", "localhost"):
        assert address(f"https://{host}:1/v1/", f"wss://{host}:1/").https == f"https://{host}:1/v1"


def test_a_file_that_is_no_certificate_is_named(tmp_path: object) -> None:
    """--ca with something else is a mistake of usage."""
    with pytest.raises(AddressError, match=r"--ca .*not a file with certificates"):
        tls_context(Target("https://127.0.0.1/", "wss://127.0.0.1/", ca=__file__))


def test_a_server_that_can_not_start_says_why() -> None:
    """Its complaint reaches the person who asked for the run."""
    server = Server("--no-such-option")
    with pytest.raises(TargetError, match=r"did not start: .*no-such-option"):
        server.ready()
