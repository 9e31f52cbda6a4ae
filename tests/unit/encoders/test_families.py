"""An encoder is an interface: a family is one module, and nothing else knows its library."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import coder_clip
from coder_clip.encoders import families

PACKAGE = Path(coder_clip.__file__).parent


def naming(library: str) -> set[str]:
    """Modules of the program that import a library or have its name in code or a message."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            imports = [str(getattr(node, "module", ""))] if isinstance(node, ast.ImportFrom) else []
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            text = str(node.value) if isinstance(node, ast.Constant) else ""
            if any(library in name for name in (*imports, *names, text)):
                found.add(path.relative_to(PACKAGE).as_posix())
    return found


def test_few_modules_know_the_library_of_a_family() -> None:
    """A second family would have to be added in each of them."""
    captions = {
        "baselines/methods.py",
        "reporting/exhibits/published.py",
    }  # whose prompts these are
    of_family = {name for name in naming("open_clip") if "open_clip" in name}
    assert of_family, "its own modules"
    assert len(naming("open_clip") - captions - of_family) <= 2, naming("open_clip")


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("ViT-B-32", "open_clip"),
        ("hf-hub:org/name", "open_clip"),
        ("local-dir:data/mini", "open_clip"),
        ("features:true_clip", "published"),
        ("nobody:has-this-prefix", "open_clip"),
    ],
)
def test_a_model_is_named_by_its_prefix(model: str, family: str) -> None:
    """Another family would load other weights, or say that there are none."""
    assert families.of(model).name == family
    assert families.encodes(model) == (family == "open_clip")


def test_what_a_family_does_not_define_has_a_default() -> None:
    """A new family would have to define all of it."""
    assert (
        families.of("features:true_clip").call("unreadable", None, default="nothing") == "nothing"
    )
