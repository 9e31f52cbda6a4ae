"""Unit tests are quick: one thread each, and as many random examples as find what more would find."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported; the processes of a run share the cores

settings.register_profile("quick", max_examples=25, deadline=None)
settings.load_profile("quick")
