"""Hostile inputs for every reader of foreign files: `python -m tests.fuzz` (docs/faults.md, "Untrusted input")."""
