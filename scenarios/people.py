"""Who the virtual users are and how long they take over things: everything from one seed.

The same seed and number always give the same person with the same dice. What a person decides and how
long a pause lasts comes from those dice alone, so that two runs with one seed replay the same people.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from talkamie.contract import UserType

_FIRST = "Ada Amir Anna Ben Carla Chen Clara Dora Elif Emil Fatou Greta Hans Ida Ivan Jane Karim Lena".split()
_FIRST += "Lucas Mara Milan Nadia Nora Omar Paul Petra Rosa Sami Sofia Tariq Uma Vera Wanda Yara Zoe".split()
_LAST = "Adler Bauer Costa Dubois Evans Fischer Garcia Haddad Ito Jansen Keller Lopez Meyer Novak".split()
_LAST += "Okafor Peters Quinn Rossi Sato Turner Ulrich Vogel Weber Xu Young Zimmer".split()
_WORDS = (
    "good morning how are you today the garden is lovely we could talk about books music my grandchildren "
    "the weather was kind this week thank you for calling I baked a cake and went for a walk see you soon "
    "do you remember the film from sunday tell me more about your studies that made me laugh what a story"
).split()


@dataclass(frozen=True, slots=True)
class Person:
    """One account holder. `tag` is part of name and e-mail: it tells this run's people from all others."""

    number: int | str
    name: str
    email: str
    password: str = field(repr=False)
    type: UserType
    tag: str
    seed: str
    known: bool = False  # they have an account already
    token: str = field(default="", repr=False)  # with which they are signed in already


def person(seed: int, number: int | str, *, type: UserType, tag: str) -> Person:
    """Return the person with this number: the same one for the same arguments.

    The tag is in the name and the e-mail only, because it is another one in each run: the dice are not.
    """
    key = f"{seed}:{number}"
    rng = random.Random(key)
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    return Person(
        number=number,
        name=f"{first} {last} {tag}",
        email=f"{first}.{last}.{number}.{tag}@example.test".lower(),
        password=f"{rng.getrandbits(64):016x}",
        type=type,
        tag=tag,
        seed=key,
    )


def dice(someone: Person) -> random.Random:
    """Return the dice that this person decides with, fresh from the seed."""
    return random.Random(someone.seed + ":dice")


def birthday(kind: UserType, rng: random.Random) -> str:
    """Return a date of birth as the API writes it: searches by age find seniors old and volunteers not."""
    first, last = (1935, 1960) if kind == "senior" else (1961, 2004)
    return f"{rng.randint(first, last)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def sentence(rng: random.Random) -> str:
    """Return what somebody might write in a chat: 3 to 30 words, mostly short."""
    words = min(30, 3 + int(rng.expovariate(1 / 6)))
    return " ".join(rng.choices(_WORDS, k=words))


@dataclass(frozen=True, slots=True)
class Habits:
    """What a kind of person starts of their own accord (as weights), and how sociable they are.

    Without a mix somebody is online and reads what comes, but never writes: the noise floor of a run.
    All chances are assumptions.
    """

    mix: dict[str, float]
    newcomers: float = 0.0  # see scenarios.workload.People for these
    leavers: float = 0.0
    signs_out: float = 0.0
    answers: float = 0.85
    accepts: float = 0.95
    picks_up: float = 0.8
    declines: float = 0.1
    scrolls: float = 0.2  # chance of reading further back in a chat


@dataclass(frozen=True, slots=True)
class Pause:
    """A human pause, log-normal: half of them are shorter than `median_s`; none is over four medians."""

    median_s: float
    sigma: float
    why: str

    def draw(self, rng: random.Random, pace: float) -> float:
        """Return one pause in seconds, for people `pace` times as fast as real ones."""
        return min(4.0, math.exp(rng.gauss(0.0, self.sigma))) * self.median_s / pace


# All medians are assumptions: the web client shows what a machine does, not what a person takes.
PAUSES = {
    "form": Pause(15, 0.4, "filling in name, e-mail and password"),
    "otp": Pause(12, 0.4, "finding the mail and typing four digits"),
    "profile": Pause(15, 0.5, "choosing interests, writing a line about oneself"),
    "look": Pause(5, 0.5, "taking in a page before doing anything"),
    "profile-read": Pause(6, 0.5, "reading somebody's profile"),
    "notice": Pause(5, 0.6, "noticing an alert"),
    "read": Pause(5, 0.5, "reading a message"),
    "compose": Pause(6, 0.5, "writing a message"),
    "patience": Pause(25, 0.4, "waiting for an answer before looking elsewhere"),
    "idle": Pause(20, 0.6, "doing nothing in particular with the page open"),
    "away": Pause(20, 0.5, "between two visits"),
    "pick-up": Pause(6, 0.5, "getting to a phone that rings"),
    "ring": Pause(25, 0.2, "letting it ring before giving up"),
    "media": Pause(1, 0.3, "until both sides hear each other; seen: about 0.3 s after the answer"),
    "conversation": Pause(300, 0.5, "talking on the phone; the app offers 5, 10, 15 and 20 minutes"),
    "call-over": Pause(2, 0.0, "the app shows that the call is over; seen in the web client: 2 s"),
    "visit": Pause(240, 0.4, "a whole visit, from opening the page to leaving it"),
    "recover": Pause(5, 0.5, "trying again after an error"),
}
