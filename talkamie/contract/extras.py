"""What later documentation and the web client add. A deployment may have none of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from talkamie.contract.https import (
    Auth,
    MessageData,
    Operation,
    Page,
    Search,
    Tokens,
    UserData,
)
from talkamie.contract.objects import (
    Chat,
    Email,
    Id,
    Message,
    Password,
    Paypal,
    ShortText,
    Specialization,
    User,
    Wire,
)
from talkamie.contract.wss import Action, MessageText, ReadMark, SocketAction


class PasswordReset(Wire):
    """Another password for an address whose one-time password was verified just before."""

    email: Email
    password: Password


class WorkLocation(Wire):
    country_code: ShortText
    state_code: ShortText | UnsetType = UNSET
    city: ShortText | UnsetType = UNSET


class BackgroundQuery(Wire):
    """What a background check of oneself needs to know."""

    first_name: ShortText
    last_name: ShortText
    zip_code: ShortText
    work_locations: Annotated[list[WorkLocation], Meta(min_length=1, max_length=20)]
    middle_name: ShortText | UnsetType = UNSET


class Faq(Wire):
    id: Id
    question: str
    answer: str


class Refresh(Wire):
    refresh: Annotated[str, Meta(min_length=1, max_length=4096)]


class TokensData(Wire):
    tokens: Tokens


class FileWish(Wire):
    name: ShortText
    mime_type: ShortText
    object_type: Literal["certificate", "picture", "video"]


class FilesWish(Wire):
    """Which files a user means to upload, each under a key of his own."""

    type: Literal["user"]
    items: Annotated[dict[str, FileWish], Meta(min_length=1, max_length=10)]
    file_dir_path: ShortText | UnsetType = UNSET


class SignedUrl(Wire):
    file_url: str  # where it will be
    upload_url: str  # where to PUT it, raw, with its content-type


class SignedUrls(Wire):
    file_dir_path: str
    items: dict[str, SignedUrl]


class Funds(Wire):
    amount: int  # cents
    currency: str


class CoinAmount(Wire):
    amount: int


class Transaction(Wire):
    id: Id | UnsetType = UNSET
    type: Literal["purchase", "earning", "withdrawal"] | UnsetType = UNSET
    intent: str | UnsetType = UNSET
    status: str | UnsetType = UNSET  # here: pending, complete
    funds: Funds | UnsetType = UNSET
    coins: CoinAmount | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET


class TransactionData(Wire):
    transaction: Transaction


class Plan(Wire):
    id: Id


class TopUp(Wire):
    coins: Annotated[int, Meta(ge=50, le=1_000_000)]
    transaction_id: Id | UnsetType = UNSET  # to go on with one that was not paid


class PaymentSession(Wire):
    id: Id
    url: str


class TopUpData(Wire):
    session: PaymentSession
    transaction: Transaction


class Withdrawal(Wire):
    coins: Annotated[int, Meta(ge=100, le=1_000_000)]
    paypal: Paypal
    transaction_id: Id | UnsetType = UNSET  # to ask again without being paid twice


class Ticket(Wire):
    id: Id
    user: User | UnsetType = UNSET
    status: Literal["open", "closed"] | UnsetType = UNSET


class SendSupportMessage(Action):
    message: MessageText
    ticket_id: Id | UnsetType = UNSET  # absent: the open ticket, or a new one


class GetSupportMessages(Action):
    ticket_id: Id
    page_size: Annotated[int, Meta(ge=1, le=100)] = 25
    last_evaluated_key: dict[str, Any] | UnsetType = UNSET


class UpdateSupportMessages(Action):
    ticket_id: Id
    messages_map: Annotated[dict[str, ReadMark], Meta(min_length=1, max_length=1000)]


class SupportMessageData(Wire):
    ticket: Ticket
    message: Message


class SupportMessagePage(Wire):
    ticket: Ticket
    messages: list[Message]


class SupportMessagesUpdate(Wire):
    ticket: Ticket
    messages_map: dict[str, Message]


EXTRA_OPERATIONS: dict[str, Operation] = {
    row.name: row
    for row in (
        Operation("refresh-token", "POST", "/auth/refresh", Auth.PUBLIC, body=Refresh, data=TokensData),
        Operation("reset-password", "POST", "/auth/reset-password", Auth.PUBLIC, body=PasswordReset),
        Operation("post-message", "POST", "/chat/{chatId}/message", body=MessageText, data=MessageData),
        Operation("get-pending-chats", "GET", "/chats/pending", query=Search, data=list[Chat]),
        Operation("get-faqs", "GET", "/faqs", Auth.PUBLIC, query=Search, data=list[Faq]),
        Operation(
            "get-subscriptions", "GET", "/finance/subscriptions", Auth.PUBLIC, query=Page, data=list[Plan]
        ),
        Operation("get-transaction", "GET", "/finance/transaction/{id}", data=TransactionData),
        Operation("get-transactions", "GET", "/finance/transactions", query=Page, data=list[Transaction]),
        Operation(
            "get-purchases", "GET", "/finance/transactions/purchases", query=Page, data=list[Transaction]
        ),
        Operation(
            "get-earnings", "GET", "/finance/transactions/earnings", query=Page, data=list[Transaction]
        ),
        Operation(
            "get-withdrawals", "GET", "/finance/transactions/withdrawals", query=Page, data=list[Transaction]
        ),
        Operation("withdraw-coins", "POST", "/finance/withdraw", body=Withdrawal, data=TransactionData),
        Operation("get-signed-urls", "POST", "/signed/urls", body=FilesWish, data=SignedUrls),
        Operation(
            "get-specializations",
            "GET",
            "/specializations",
            Auth.PUBLIC,
            query=Search,
            data=list[Specialization],
        ),
        Operation("get-open-ticket", "GET", "/support/open/ticket", data=Ticket),
        Operation(
            "get-ticket-messages", "GET", "/support/ticket/{id}/messages", query=Page, data=list[Message]
        ),
        Operation("disconnect-user", "DELETE", "/user/{id}/connection/disconnect"),
        Operation("open-top-up-session", "POST", "/web/finance/top-up/session", body=TopUp, data=TopUpData),
        Operation("initiate-background-check", "POST", "/verification/background", body=BackgroundQuery),
    )
}

EXTRA_ACTIONS: dict[str, SocketAction] = {
    row.name: row
    for row in (
        SocketAction("update-user", "user", push=UserData),
        SocketAction(
            "send-support-message", "support", request=SendSupportMessage, answer=SupportMessageData
        ),
        SocketAction("new-support-message", "support", push=SupportMessageData),
        SocketAction(
            "get-support-messages", "support", request=GetSupportMessages, answer=SupportMessagePage
        ),
        SocketAction(
            "update-support-messages",
            "support",
            request=UpdateSupportMessages,
            answer=SupportMessagesUpdate,
            push=SupportMessagesUpdate,
        ),
    )
}
