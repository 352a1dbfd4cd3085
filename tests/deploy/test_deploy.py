"""What runs talkload in containers is what the tools that read it expect, and what talkload understands."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

import talkload
from talkamie.server.__main__ import parser

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
LINES = re.sub(r"\\\n\s*", " ", (DEPLOY / "Containerfile").read_text()).splitlines()


def documents(path: Path) -> list[Any]:
    """Return what a file has."""
    return list(YAML(typ="safe").load_all(path.read_text()))


def containers() -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """Yield the place of each container, what is mounted and set in it, and its command."""
    for name, service in documents(COMPOSE)[0]["services"].items():
        yield f"compose {name}", service, service["command"]
    for path in KUBERNETES:
        for each in documents(path):
            pod = each.get("spec", {}).get("template", {}).get("spec", {})
            for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
                yield f"{path.name} {container['name']}", container, container["args"]


ALL = list(containers())


def test_compose_keeps_to_its_schema() -> None:
    """The Compose Specification's own."""
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(COMPOSE),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_manifests_keep_to_kubernetes_schemas(path: Path) -> None:
    """Strictly: a key that does not exist would be ignored there without a word."""
    for each in documents(path):
        kubernetes_validate.validate(each, "1.34", strict=True)


@pytest.mark.parametrize(("place", "command"), [(place, command) for place, _, command in ALL])
def test_every_command_is_understood(place: str, command: list[str]) -> None:
    """Each option exists and has a value where it needs one."""
    words = [re.sub(r"\$\(POD_IP\)", "10.1.2.3", word) for word in command]
    if words[0] == "serve":
        assert parser().parse_args(words[1:])
        return
    found = talkload.main.commands[words[0]]
    known = {option for each in found.params if isinstance(each, click.Option) for option in each.opts}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known
    # Those files are in the container: here another one stands for them.
    given = [re.sub(r"/secret/secret|/run/secrets/talkload|/ca/ca.pem", __file__, word) for word in words[1:]]
    assert found.make_context(words[0], given)


def test_what_is_used_is_there() -> None:
    """Every path that a command names is mounted; every address is that of a service; names agree."""
    compose = documents(COMPOSE)[0]
    addresses = {
        service["networks"]["load"]["ipv4_address"]
        for service in compose["services"].values()
        if isinstance(service["networks"], dict)
    }
    for place, container, command in ALL:
        text = " ".join(command)
        mounts = {str(each).split(":")[1] for each in container.get("volumes", [])}
        mounts |= {each["mountPath"] for each in container.get("volumeMounts", [])}
        mounts |= {"/run"} if container.get("secrets") else set()
        for path in re.findall(r"(?<![\w:/.])(/[a-z]+)(?=/| |$)", text):
            assert path in mounts, (place, path)
        assert set(re.findall(r"10\.77\.\d+\.\d+", text)) <= addresses
    named = {each["metadata"]["name"] for path in KUBERNETES for each in documents(path)}
    assert "talkload-master" in named


def test_workers_are_as_many_as_the_master_waits_for() -> None:
    """Else it would wait in vain, or refuse the one too many."""
    workers = documents(DEPLOY / "kubernetes/workers.yaml")[0]["spec"]
    compose = documents(COMPOSE)[0]["services"]
    many = {workers["parallelism"], workers["completions"], compose["worker"]["deploy"]["replicas"]}
    expected = {
        int(found)
        for _, _, command in ALL
        for found in re.findall(r"expect-workers=(\d+)", " ".join(command))
    }
    assert many == expected == {2}


def test_the_image_is_made_of_what_is_there() -> None:
    """From the lock file with its hashes, not as root, and it begins with the command."""
    copied = [line.split()[1] for line in LINES if line.startswith("COPY")]
    assert all((ROOT / each).exists() for each in copied)
    assert any("--require-hashes -r requirements.lock" in line for line in LINES)
    assert [line for line in LINES if line.startswith("USER")] == ["USER talkload"]
    assert LINES[-1] == 'ENTRYPOINT ["talkload"]'
