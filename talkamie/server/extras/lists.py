"""Lists: answers to frequent questions, and specializations."""

from __future__ import annotations

from talkamie.contract import Faq, Search, Specialization
from talkamie.server.catalogue import catalogue, excerpt
from talkamie.server.registry import operation
from talkamie.server.service import Call, Paged

FAQS = catalogue(
    Faq,
    "f",
    ("What is Talkamie?", "A place where seniors and volunteers meet to talk."),
    ("What does it cost?", "Messages are free. A call costs coins; a coin is one US cent."),
    ("Who are the volunteers?", "People who like to listen. Each is verified before the first call."),
    ("How do I call somebody?", "Connect first; then call from your chat, or schedule a call."),
    ("Can I end a connection?", "At any time, without saying why."),
    ("Who sees my profile?", "Whom you choose: everybody, volunteers, seniors, or those you know."),
    ("How long may a call be?", "As long as you like. You can set a limit in your preferences."),
    ("How do I get my earnings?", "Withdraw them to your PayPal account from 100 coins on."),
)
AREAS = ("Companionship", "Counselling", "Languages", "Medicine", "Nursing", "Physiotherapy", "Social work")
SPECIALIZATIONS = catalogue(Specialization, "s", *((area,) for area in AREAS))


@operation("get-faqs")
async def get_faqs(call: Call, *, query: Search) -> Paged[list[Faq]]:
    """Return questions that are asked often, with their answers."""
    return excerpt(FAQS, query)


@operation("get-specializations")
async def get_specializations(call: Call, *, query: Search) -> Paged[list[Specialization]]:
    """Return the catalogue of specializations, by name."""
    return excerpt(SPECIALIZATIONS, query)
