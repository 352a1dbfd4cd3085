"""Who has an account before a run: made from the seed, or read from a file whose secrets stay there."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.population import Population, read_accounts
from scenarios.workload import WorkloadError

CSV = """email,role,password,name
ada@x.test,senior,s3cret-a,Ada Bench
bob@x.test,volunteer,s3cret-b,Bob Bench
eve@x.test,senior,s3cret-c,Eve Bench
"""


def written(folder: Path, text: str, name: str = "accounts.csv") -> Path:
    """Return a file with this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_those_who_are_made_are_the_same_for_the_same_seed() -> None:
    """Everybody has an address of their own, all share one password, and a lurker is a senior."""
    made = Population(tag="ab12", counts={"senior": 30, "volunteer": 20, "lurker": 5})
    people = [each for kind in made.people(3).values() for each in kind]
    assert people == [each for kind in made.people(3).values() for each in kind]
    assert len({each.email for each in people}) == 55
    assert len({each.password for each in people}) == 1
    assert sum(each.type == "senior" for each in people) == 35
    assert all(each.known and each.tag == "ab12" in each.name for each in people)


def test_a_csv_and_lines_of_json_say_the_same(tmp_path: Path) -> None:
    """One account a line, in their order."""
    json = '{"email": "ada@x.test", "role": "senior", "password": "s3cret-a", "name": "Ada Bench"}\n\n'
    (one,) = read_accounts(written(tmp_path, json, "a.jsonl"))
    assert read_accounts(written(tmp_path, CSV))[0] == one


def test_people_of_a_file_find_each_other_by_the_word_they_share(tmp_path: Path) -> None:
    """Seniors first, then lurkers; without a common word their tag is one that nobody has."""
    counts = {"senior": 1, "volunteer": 1, "lurker": 1}
    found = Population(tag="none", counts=counts, file=str(written(tmp_path, CSV))).people(1)
    assert [each[0].email[:3] for each in found.values()] == ["ada", "bob", "eve"]
    assert {each[0].tag for each in found.values()} == {"Bench"}
    other = written(tmp_path, CSV.replace("Eve Bench", "Eve Other"), "b.csv")
    assert Population(tag="none", counts=counts, file=str(other)).people(1)["senior"][0].tag == "none"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (CSV.replace("volunteer", "vollunteer"), r"accounts\.csv:3: .*vollunteer"),
        (CSV.replace("bob@", "ada@"), r"accounts\.csv:4: email: ada@x\.test is there twice|:3: email"),
        (CSV.replace("s3cret-b", ""), r"accounts\.csv:3: expected a password, or a token"),
        ("ada@x.test,senior,s3cret-a\n", r"accounts\.csv:1: expected a header with some of email"),
        ("email,role,token\na@x.test,senior,s3cret \u00e9\n", r"accounts\.csv:2: token: can't stand"),
        ("email,role,password\n", r"accounts\.csv: no account in it"),
        (CSV.replace("Ada Bench", "Ada Bench,more"), r"accounts\.csv:2: "),
        ("", r"accounts\.csv: no account in it"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_without_a_secret(
    tmp_path: Path, text: str, complaint: str
) -> None:
    """The file, the line, what was expected; no password is in it."""
    with pytest.raises(WorkloadError, match=complaint) as raised:
        read_accounts(written(tmp_path, text))
    assert "s3cret" not in str(raised.value)


def test_nothing_that_is_printed_of_a_person_has_a_secret(tmp_path: Path) -> None:
    """Neither password nor token."""
    text = CSV.replace("password", "token")
    file = str(written(tmp_path, text))
    people = Population(counts={"senior": 2, "volunteer": 1, "lurker": 0}, file=file).people(1)
    assert "s3cret" not in repr(people)
    assert people["senior"][0].token == "s3cret-a"
