"""The Talkamie API: its contract, and a reference server that keeps it."""
