"""The package outside of its clone: installed from a wheel, in an environment that knows no clone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import bare

REPO = Path(__file__).resolve().parents[2]
NAME = re.compile(r"[A-Za-z0-9_.-]+")


def plain(name: str) -> str:
    """A distribution's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_dependency_is_a_package_of_this_repository() -> None:
    """No registry has these names, so pip would not install; who registers one would run code on
    every machine.
    """
    own = {
        plain(tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"])
        for file in [REPO / "pyproject.toml", *REPO.glob("packages/*/pyproject.toml")]
    }
    assert len(own) >= 2
    for file in [REPO / "pyproject.toml", *REPO.glob("packages/*/pyproject.toml")]:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        extras = project.get("optional-dependencies", {}).values()
        named = [*project["dependencies"], *(line for extra in extras for line in extra)]
        names = {plain(NAME.match(line)[0]) for line in named}  # type: ignore[index]
        # an extra may name other extras of the same distribution
        assert names & own <= {plain(project["name"])}, file


def built(source: Path, folder: Path) -> Path:
    """The wheel of a distribution, built from a copy, because a build writes into the folder of its
    sources.
    """
    unwanted = shutil.ignore_patterns("*.egg-info", "__pycache__")
    shutil.copytree(source / "src", folder / "src", ignore=unwanted)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        if (source / file).is_file():
            shutil.copy(source / file, folder)
    if (source / "LICENSES").is_dir():
        shutil.copytree(source / "LICENSES", folder / "LICENSES")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        "dist",
        ".",
    ]
    subprocess.run(build, cwd=folder, check=True, timeout=600)
    (made,) = (folder / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of coder-clip."""
    return built(REPO, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with coder-clip alone."""
    return installed(tmp_path_factory.mktemp("elsewhere"), wheel)


@pytest.fixture(scope="module")
def with_photos(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with coder-clip and coder-clip-photos."""
    photos = built(REPO / "packages/coder-clip-photos", tmp_path_factory.mktemp("photos"))
    return installed(tmp_path_factory.mktemp("with_photos"), wheel, photos)


def installed(folder: Path, *wheels: Path) -> Path:
    """The folder of programs of an environment with these wheels, and an empty folder beside it to
    work in.

    The dependencies are links to those of this environment, because PyTorch alone takes minutes.
    The distributions of this repository are not among them. pip installs without an index, so all
    that a wheel names is here."""
    python = bare.make(folder)
    for wheel in wheels:
        install = [python, "-m", "pip", "install", "--quiet", "--no-index", wheel]
        subprocess.run(install, check=True, timeout=600, cwd=folder, env=bare.environment(folder))
    (folder / "work").mkdir()
    return folder


def run(elsewhere: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """A command in the empty folder."""
    return subprocess.run(
        list(map(str, command)),
        cwd=elsewhere / "work",
        env=bare.environment(elsewhere),
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.rest
def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    """A registry's page and a licence scanner read nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        (file,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(file).decode()
        licences = {Path(name).name for name in archive.namelist() if "/licenses/" in name}
    head = metadata.partition("\n\n")[0]
    for field in ("Author: coder-clip developers", "License-Expression: MIT", "Keywords: CLIP"):
        assert field in head
    assert "Classifier: Programming Language :: Python :: 3.11" in head
    assert "Project-URL: Paper, https://arxiv.org/abs/2404.17753" in head
    assert "slurm-resilient" not in head
    assert {"LICENSE", "MIT.txt", "Apache-2.0.txt"} <= licences


@pytest.mark.rest
def test_the_wheel_works_outside_of_the_clone(elsewhere: Path) -> None:
    """A stranger's `pip install` must give commands and a library, not a traceback about a missing
    repository.
    """
    place = run(elsewhere, "python", "-c", "import coder_clip; print(coder_clip.__file__)")
    assert str(elsewhere) in place.stdout, place.stderr
    shown = run(elsewhere, "coder-clip", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "Usage" in shown.stdout
    assert shown.stderr == ""
    assert " classify " not in shown.stdout
    absent = run(elsewhere, "coder-clip", "classify", "photos", "--classes", "cat,dog")
    assert absent.returncode == 1
    assert "'classify' is not installed: pip install ./packages/coder-clip-photos" in absent.stderr
    assert absent.stderr.count("\n") == 1, absent.stderr
    for command in ("status", "record", "push", "pull", "check", "zero-shot"):
        said = run(elsewhere, "coder-clip", command)
        assert said.returncode == 1
        assert said.stderr.startswith(
            "coder-clip: error: no configuration file config/reproduce.yaml"
        ), command
        assert "go to the folder of the Snakefile" in said.stderr
        assert said.stderr.count("\n") == 1, said.stderr
    assert list((elsewhere / "work").iterdir()) == [], (
        "a command that refuses leaves nothing behind"
    )


@pytest.mark.rest
def test_a_photo_is_classified_outside_of_the_clone(with_photos: Path, tmp_path: Path) -> None:
    """The command that most people install the packages for; here with the embedded model as a
    folder.
    """
    for command in ("classify", "find", "explore", "duplicates"):
        shown = run(with_photos, "coder-clip", command, "--help")
        assert shown.returncode == 0, shown.stderr
        assert "Usage" in shown.stdout
        assert shown.stderr == ""
    page = (
        "import coder_clip_photos as p; from pathlib import Path; "
        "print(*Path(p.__path__[0]).glob('page_files/*'))"
    )
    of_page = (REPO / "packages/coder-clip-photos/src/coder_clip_photos/page_files").iterdir()
    shipped = run(with_photos, "python", "-c", page).stdout.split()
    assert {Path(name).name for name in shipped} == {path.name for path in of_page}
    shutil.copytree(REPO / "data/mini", tmp_path / "model")
    (tmp_path / "photos").mkdir()
    draw = "from PIL import Image; import sys; Image.new('RGB', (64, 64), 'red').save(sys.argv[1])"
    assert run(with_photos, "python", "-c", draw, tmp_path / "photos/a.png").returncode == 0
    model = ["--model", tmp_path / "model"]
    shown = run(
        with_photos,
        "coder-clip",
        "classify",
        tmp_path / "photos",
        "--classes",
        "circle,square",
        *model,
    )
    assert shown.returncode == 0, shown.stderr
    assert "a.png" in shown.stdout
    assert re.search("circle|square", shown.stdout)
    found = run(with_photos, "coder-clip", "find", tmp_path / "photos", "a red circle", *model)
    assert found.returncode == 0, found.stderr
    assert "a.png" in found.stdout


@pytest.mark.rest
def test_the_library_example_runs_outside_of_the_clone(elsewhere: Path) -> None:
    """It is what people paste first."""
    page = (REPO / "docs/library.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    shown = run(
        elsewhere, "python", "-c", f"{block}\nprint(tuple(logits.shape), tuple(predictions.shape))"
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1] == "(30, 3) (30,)"


@pytest.mark.rest
def test_a_check_of_a_cluster_names_the_package_that_it_needs(elsewhere: Path) -> None:
    """The executor is installed from its folder; without it the check would end in a
    ModuleNotFoundError.
    """
    config = ["--config", REPO / "config/reproduce.yaml"]
    # needs data/mini
    code = "import os, sys; os.chdir(sys.argv.pop(1)); from coder_clip.cli import main; main()"
    said = run(elsewhere, "python", "-c", code, REPO, "check", "--profile", "slurm", *config)
    assert said.returncode == 1
    assert "pip install ./packages/snakemake-executor-plugin-slurm-resilient" in said.stderr
    assert said.stderr.count("\n") == 1, said.stderr
