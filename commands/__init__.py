"""What a person can ask for: a module a command, which parses, calls, prints and ends with an exit code.

Here, above both, the half that makes a run meets the half that judges it. What can be imported late is, so
that help is quick. Exit codes: 0 pass · 1 failed · 2 usage or configuration · 3 inconclusive · 4 invalid ·
5 target unusable.
"""
