"""`coder-clip texts`: the phase, and one module for each group of its commands."""

from __future__ import annotations

# in the order of the help: each module adds its commands to `app`
from . import importing, checking, generating, reviewing  # noqa: F401  # isort: skip
from .group import app as app
from .names import lines_of as lines_of
