"""Reads what a run left on disk, judges it, draws it. Never imports what made it."""
