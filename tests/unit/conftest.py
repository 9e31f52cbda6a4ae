"""Fixtures of unit tests."""

from unit_fixtures import closed, lite, no_network, tiny, tiny_dir, web  # noqa: F401
