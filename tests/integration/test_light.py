"""The library alone: `pip install .` from an index, without what only runs or language models need."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import bare
from coder_clip.foundation.installed import EXTRAS
from working_copy import REPO

# built for NVIDIA GPUs, torch brings them as packages of their own
OF_TORCH = re.compile(r"nvidia[-_]|cuda[-_]|triton$")
# what a new environment has, and this repository
NOT_COUNTED = {"pip", "setuptools", "coder-clip", "coder-clip-photos"}


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with the library and the commands for photos, and nothing else.

    Skips where no index can be reached.
    """
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder / "env", with_pip=True)
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard", "src", "packages", "LICENSE*"],
        cwd=REPO,
        capture_output=True,
        check=True,
    )
    names = listed.stdout.decode().rstrip("\0").split("\0")
    for name in (*names, "pyproject.toml", "README.md", "constraints.txt"):
        if (REPO / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, source / name)
    install = [folder / "env/bin/pip", "install", "--quiet", "--constraint", "constraints.txt", "."]
    done = subprocess.run(
        [*install, "./packages/coder-clip-photos"], cwd=source, capture_output=True, text=True
    )
    if done.returncode and "from versions: none" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    (folder / "work").mkdir()
    return folder


def run(light: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """A command in the empty folder."""
    return subprocess.run(
        [str(light / "env/bin" / command[0]), *map(str, command[1:])],
        cwd=light / "work",
        env=bare.environment(light),
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.rest
def test_the_library_needs_few_packages(light: Path) -> None:
    """Somebody who wants ten lines of the method had 195 packages in 6.4 GB."""
    listed = json.loads(run(light, "pip", "list", "--format", "json").stdout)
    names = {package["name"].lower() for package in listed} - NOT_COUNTED
    counted = {name for name in names if not OF_TORCH.match(name)}
    assert len(counted) < 60, sorted(counted)
    assert {"torch", "open-clip-torch", "numpy"} <= {name.replace("_", "-") for name in counted}
    assert not {"snakemake", "dvc", "openai"} & counted


@pytest.mark.rest
def test_the_example_of_the_library_runs(light: Path) -> None:
    """It is what people paste first."""
    page = (REPO / "docs/library.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    shown = run(light, "python", "-c", f"{block}\nprint(tuple(logits.shape))")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1] == "(30, 3)"


@pytest.mark.rest
def test_an_encoder_and_photos_need_no_extra(light: Path) -> None:
    """`classify` is for people who run no paper."""
    model = light / "model"
    shutil.copytree(REPO / "data/mini", model)
    (light / "photos").mkdir()
    draw = "from PIL import Image; import sys; Image.new('RGB', (64, 64), 'red').save(sys.argv[1])"
    assert run(light, "python", "-c", draw, light / "photos/a.png").returncode == 0
    for words in (("classify", light / "photos", "--classes", "circle,square"),
                  ("find", light / "photos", "a red circle")):  # fmt: skip
        shown = run(light, "coder-clip", *words, "--model", model)
        assert shown.returncode == 0, shown.stderr
        assert "a.png" in shown.stdout


@pytest.mark.rest
@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("status", "--config", "config/reproduce.yaml"), "run"),
        (("zero-shot", "--config", "config/reproduce.yaml"), "run"),
        (
            (
                "texts",
                "generate",
                "--classes",
                "{names}",
                "--out",
                "{out}",
                "--model",
                "m",
                "--base-url",
                "http://127.0.0.1:9/v1",
            ),
            "texts",
        ),
    ],
)
def test_what_is_missing_says_which_extra_brings_it(
    light: Path, command: tuple[str, ...], extra: str
) -> None:
    """A traceback about a module says nothing about what to install."""
    code = "import os, sys; os.chdir(sys.argv.pop(1)); from coder_clip.cli import main; main()"
    (light / "names.txt").write_text("cat\ndog\n")
    places = {"names": light / "names.txt", "out": light / "texts.json"}
    words = [word.format(**places) for word in command]
    said = run(light, "python", "-c", code, REPO, *words)
    assert said.returncode == 1, said.stdout
    assert said.stderr.startswith("coder-clip: error: "), said.stderr
    assert f"is not installed: pip install '.[{extra}]' in a clone" in said.stderr
    assert said.stderr.count("\n") == 1, said.stderr


def test_the_message_knows_the_packages_of_an_extra() -> None:
    """A package that moves to an extra would be missing with a traceback."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    distributions = packages_distributions()
    for extra, modules in EXTRAS.items():
        listed = {
            re.split(r"[<>=]", requirement)[0].lower()
            for requirement in project["optional-dependencies"][extra]
        }
        known = {d.lower() for module in modules for d in distributions.get(module, ())}
        assert listed <= known, f"EXTRAS['{extra}'] in foundation/installed.py"


def test_importing_the_package_imports_nothing_large() -> None:
    """Every start of a program that uses it would take a second more."""
    code = "import sys, coder_clip; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "numpy", "pydantic", "pandas", "yaml", "typer"}
    assert len([name for name in done.stdout.split() if name.startswith("coder_clip")]) == 1
