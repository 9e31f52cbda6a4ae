"""Results are in `results` or `results/NAME`, so that they never replace files of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_clip.errors import UserError
from coder_clip.pipeline.config import load_config

SMALL = "datasets: {shapes: {texts: names}}\nmodels: [mini]\n"


def results(repo: Path, tmp_path: Path, folder: str) -> str:
    """The folder of a configuration of the repository, below its root."""
    file = tmp_path / "mine.yaml"
    file.write_text(f'{SMALL}results: "{folder}"\n')
    return load_config(file, root=repo).results.relative_to(repo).as_posix()


@pytest.mark.parametrize(
    "folder", ["results", "./results/", "results/mine", "results/größe", "results/a.b-c_1"]
)
def test_a_folder_of_its_own_may_hold_results(repo: Path, tmp_path: Path, folder: str) -> None:
    assert results(repo, tmp_path, folder) == Path(folder).as_posix()


@pytest.mark.parametrize(
    "folder",
    [
        *(".", "thesis", "src/toy", "/elsewhere", "../elsewhere", "results/../src", ".git/x"),
        *("results/a/b", "results/.hidden", "Results", "resultsx", f"results/{'n' * 101}"),
        *("results/my results", "results/a;b", "results/{dataset}", "results/it's"),
    ],
)
def test_every_other_folder_is_refused(repo: Path, tmp_path: Path, folder: str) -> None:
    """`pull` put the files of a remote in the place of the program; a space cut a command in two."""
    said = (
        r"mine\.yaml: results: .* is not 'results' or 'results/NAME'; write results: results/mine"
    )
    with pytest.raises(UserError, match=said):
        results(repo, tmp_path, folder)


@pytest.mark.parametrize("name", ["tables", "metrics.json", "texts", "certificates", "logs"])
def test_a_folder_of_a_phase_is_refused(repo: Path, tmp_path: Path, name: str) -> None:
    """Two configurations would write into one folder."""
    with pytest.raises(UserError, match=f"'results/{name}' is a folder that a phase makes"):
        results(repo, tmp_path, f"results/{name}")
