"""The Talkamie API as data: the only place that knows a path, a method, an action name or a payload.

One row is one operation (https) or one action (wss). The reference server makes its routes and its
validation from these rows, the load client its calls, and every table its names. To measure another
deployment of the API, change this package and nothing else.

Rules of the wire, true for every row:

- An https answer is an `Envelope`; a wss frame is the same object with `action` on top (`Frame`).
- Every field of a shared object may be absent: `UNSET`. `None` is never sent.
- Ids are opaque strings or numbers. Instants are UTC, `YYYY-MM-DDTHH:MM:SS.mmmZ`.
- A page is asked for with `pageSize` and `lastEvaluatedKey`, the latter taken unmodified from the answer
  before: a JSON string in a query, an object in a frame. No key in the answer: it was the last page.
- An empty query parameter means an absent one: the web client sends `?keyword=&pageSize=25`.
- Nothing carries a request id. `docs/measuring.md` tells how answers find their requests.
"""

from talkamie.contract.extras import *
from talkamie.contract.extras import EXTRA_OPERATIONS
from talkamie.contract.https import *
from talkamie.contract.https import OPERATIONS
from talkamie.contract.objects import *
from talkamie.contract.wss import *

ALL_OPERATIONS = OPERATIONS | EXTRA_OPERATIONS

# Limits of the deployment that the API runs on (API Gateway's published quotas).
MAX_FRAME_BYTES = 32 * 1024
MAX_MESSAGE_BYTES = 128 * 1024
MAX_SIGNAL_BYTES = 30 * 1024  # so that the push that relays it is one frame too
IDLE_TIMEOUT_S = 600
MAX_CONNECTION_S = 7200

# What the web client was seen to do; a person's own pauses are in scenarios/people.py.
FIRST_PING_S = 2.0
PING_INTERVAL_S = 480.0
RECEIPT_DEBOUNCE_S = 0.1
LIST_PAGE = 25
CONNECTIONS_PAGE = 20
MESSAGES_PAGE = 4
FAQS_PAGE = 5
CALL_END_PAUSE_S = 2.0
