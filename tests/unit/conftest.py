"""Fixtures of unit tests."""

from unit_fixtures import closed, lite, no_network, tiny, tiny_dir  # noqa: F401
