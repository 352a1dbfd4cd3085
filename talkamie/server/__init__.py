"""The reference server of the Talkamie API: the contract made real, with books about what it delivered.

Reading order: `clock`, `store` with `sqlite` and `postgresql`, `security` (the ground) · `service` (what a
handler is given) · `registry`, `paths`, `operations`, `actions` (from the contract's rows to handlers) ·
`listening`, `connection`, `hub`, `ledger` (sockets and fan-out) · `accounts`, `otp`, `relations`, `messages`,
`chats`, `alerts`, `scheduling` (one domain a file) · `app`, `documents`, `testing`, `__main__` (the process).
"""
