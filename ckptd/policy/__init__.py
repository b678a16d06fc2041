"""Decisions as pure functions of facts, settings and `now`; no I/O, no clock."""
