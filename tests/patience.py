"""How long tests wait."""

PATIENCE = 900
"""Seconds in which what a test waits for must happen, however busy the machine is; nothing is tested by their passing."""
