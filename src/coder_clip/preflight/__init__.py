"""Checks before a run starts: what would stop it, and how long it will take."""
