"""Unit tests compute on one thread each: what they compute is small, and the processes already share the cores."""

from __future__ import annotations

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported; processes that tests start inherit it
