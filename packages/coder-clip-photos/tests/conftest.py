"""The fixtures of coder-clip's own unit tests."""

from fixtures import command, repo, shared, web  # noqa: F401
from unit_fixtures import closed, lite, no_network, tiny, tiny_dir  # noqa: F401
