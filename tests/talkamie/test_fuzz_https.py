"""Every operation, asked by schemathesis: no 5xx, and every answer is what the OpenAPI document says.

Requests are made from the document, half of them valid and half not, with ids that exist put in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig

from talkamie import contract, specs
from talkamie.contract import Envelope, Operation
from tests.talkamie.fuzzing import CURSORS, ODD, Watched, watched
from tests.talkamie.stores import Backend

pytestmark = pytest.mark.end_to_end

EXAMPLES = {
    "sqlite": 12,
    "postgresql": 5,
}  # because the questions are the same, and cost more than the answers
TABLE = {**contract.OPERATIONS, **contract.EXTRA_OPERATIONS}
# They end the token, or the account, that asks: each such request has an account of its own.
ENDING = {"sign-out", "delete-user", "change-password"}
# What schemathesis can check and we do not keep, with the reason.
DEVIATIONS = {
    "positive_data_acceptance": "valid requests are refused by rules that no schema tells",
    "negative_data_rejection": "for bodies only: unknown and empty fields of a query are ignored",
    "use_after_free": "the domains' tests hold each operation to what it answers about what is gone",
    "ensure_resource_availability": "follows links between operations, of which the contract has none",
    "ignored_auth": "asks every question three times; test_rights asks each operation without a good token",
    "missing_required_header": "no operation requires a header but the token",
    "unsupported_method": "asks other methods at each question; test_rights does, once",
    "object_level_authorization": "needs two configured users; test_rights and the domains' tests have them",
}
load_all_checks()
SCHEMA = schemathesis.openapi.from_dict(
    specs.openapi(TABLE),
    config=SchemathesisConfig(
        projects=ProjectsConfig(
            default=ProjectConfig(generation=GenerationConfig(with_security_parameters=False))
        )
    ),
)
FOUND: list[Any] = list(SCHEMA.get_all_operations())
OPERATIONS = [found.ok() for found in FOUND]
# Half of the requests are not what the document says, where it says anything that can be violated.
QUESTIONS = [
    pytest.param(operation, mode, id=f"{operation.definition.raw['operationId']}-{mode.value}")
    for operation in OPERATIONS
    for mode in schemathesis.GenerationMode
    if mode is schemathesis.GenerationMode.POSITIVE or operation.body or operation.query
]


@pytest.fixture(scope="module")
def server(backend: Backend) -> Iterator[Watched]:
    with watched(backend) as server:
        yield server
        server.check()


@pytest.fixture(scope="module")
def session(server: Watched) -> Iterator[requests.Session]:
    """One connection, because a TLS handshake costs more than what is asked over it."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.mark.parametrize(("operation", "mode"), QUESTIONS)
def test_no_request_breaks_the_server(
    server: Watched, session: requests.Session, operation: Any, mode: Any
) -> None:
    """The answer has a status below 500, and the shape that the document gives it."""
    row = TABLE[operation.definition.raw["operationId"]]
    wanted = [name for name in CHECKS.get_all_names() if name not in DEVIATIONS]
    if row.body is not None and row.query is None:
        wanted.append("negative_data_rejection")
    checks = CHECKS.get_by_names(wanted)

    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    @settings(
        max_examples=EXAMPLES[server.backend],
        phases=[Phase.generate],  # because shrinking against a real server takes minutes
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any, data: st.DataObject) -> None:
        person = server.make(1)[0] if row.name in ENDING else server.ann
        place(case, data, [person.id] * 9 + server.known)
        headers = {"authorization": f"Bearer {person.token}"}
        answer = case.call(
            base_url=server.ready["https"], headers=headers, session=session, verify=server.ready["ca"]
        )
        case.validate_response(answer, checks=checks)
        expect_nothing_unknown(row, answer.status_code, answer.content)

    ask()


@pytest.mark.parametrize("value", [*ODD, *CURSORS], ids=lambda value: repr(value)[:30])
def test_a_value_that_hurts_is_refused_or_kept(server: Watched, value: Any) -> None:
    """Numbers no database holds, instants at both ends of time, keys of pages that never were."""
    me = server.ann
    schedule = f"/schedule/{server.schedule()}"
    asked: list[tuple[str, str, Any, dict[str, str]]] = [
        ("PUT", f"/user/{me.id}", {"interests": [{"id": value, "name": "x"}]}, {}),
        ("PUT", f"/user/{me.id}", {"dob": value}, {}),
        ("PUT", schedule, {"startDateTime": value}, {}),
        ("PUT", schedule, {"endDateTime": value}, {}),
        ("GET", "/users", None, {"age": str(value)}),
        ("GET", "/users", None, {"maxAge": str(value)}),
    ]
    for row in TABLE.values():
        if row.query is not None:
            identity = server.ticket if row.folder == "support" else me.id
            path = row.path.format(chatId=server.chat, id=identity)
            asked.append(("GET", path, None, {"lastEvaluatedKey": json.dumps(value)}))
    for method, path, body, query in asked:
        answer = me.http.request(
            method,
            me.ready["https"] + path,
            json=body,
            params=query,
            headers={"authorization": f"Bearer {me.token}"},
        )
        assert answer.status_code in (200, 400), (method, path, value, answer.text)


def place(case: Any, data: st.DataObject, known: list[str]) -> None:
    """Put ids that exist into most paths, and keys that might be ours into some queries."""
    for name in case.path_parameters or {}:
        if data.draw(st.integers(0, 3)):
            case.path_parameters[name] = data.draw(st.sampled_from(known))
    if "lastEvaluatedKey" in (case.query or {}) and data.draw(st.booleans()):
        case.query["lastEvaluatedKey"] = json.dumps(data.draw(st.sampled_from(CURSORS)))


def expect_nothing_unknown(row: Operation, status: int, content: bytes) -> None:
    """Assert that the body is an envelope that says this status, with the contract's fields and no other."""
    kind: Any = Envelope[Any] if row.data is None or status != 200 else Envelope[row.data]  # type: ignore[name-defined]
    envelope = msgspec.json.decode(content, type=kind)
    assert (envelope.status_code, envelope.success) == (status, status == 200)
    assert msgspec.to_builtins(envelope) == json.loads(content)
