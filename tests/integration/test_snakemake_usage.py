"""What people who know Snakemake try first: -s, --directory, module, --report, --sdm conda,
--containerize.
"""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from coder_clip.reporting.all_exhibits import FIGURES, TABLES
from working_copy import SMALL, Work, environment, working_copy

pytestmark = pytest.mark.rest
REPO = Path(__file__).resolve().parents[2]
MODULE = """
module coder:
    snakefile: "{folder}/Snakefile"
use rule * from coder as coder_*
"""


def snakemake(work: Work, where: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """Snakemake in some folder, with the environment of the working copy."""
    return subprocess.run(
        ["snakemake", *map(str, options)],
        cwd=where,
        env=environment(work.folder),
        capture_output=True,
        text=True,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return working_copy(
        tmp_path_factory.mktemp("work") / "copy", {**SMALL, "datasets": {"shapes": {"views": 1}}}
    )


def test_from_another_folder_one_line_says_how(copy: Work, tmp_path: Path) -> None:
    """ "no configuration file" sent people to look for a file that was there."""
    snakefile = copy.folder / "Snakefile"
    (tmp_path / "Snakefile").write_text(MODULE.format(folder=copy.folder))
    for where, options in (
        (tmp_path, ["-s", snakefile, "-n"]),
        (copy.folder, ["-n", "--directory", tmp_path]),
        (tmp_path, ["-n"]),  # as a module
    ):
        done = snakemake(copy, where, *options)
        assert done.returncode != 0
        assert f"snakemake -s {snakefile} --directory {copy.folder}" in last_line(done)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".snakemake") == ["Snakefile"]


def test_that_line_works(copy: Work, tmp_path: Path) -> None:
    """The line that the documentation gives for another folder would not plan a job."""
    options = ["-s", copy.folder / "Snakefile", "--directory", copy.folder]
    done = snakemake(copy, tmp_path, *options, "-n", "--configfile", copy.folder / copy.config)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^list_images +1$", done.stdout + done.stderr, flags=re.M)


def test_the_catalogues_snakefile_plans_the_same(copy: Work) -> None:
    """The catalogue of workflows, and people who follow it, look for workflow/Snakefile."""
    options = ["-n", "--configfile", copy.config]
    own = snakemake(copy, copy.folder, *options)
    theirs = snakemake(copy, copy.folder, "-s", "workflow/Snakefile", *options)
    assert theirs.returncode == 0, theirs.stderr
    total = re.compile(r"^total +\d+$", flags=re.M)
    both = [total.findall(done.stdout + done.stderr) for done in (own, theirs)]
    assert both[0] == both[1]
    assert both[0]
    usage = yaml.safe_load((REPO / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))[
        "usage"
    ]
    assert usage["software-stack-deployment"]["conda"] is False
    assert (REPO / "config/README.md").is_file()


def test_what_is_not_supported_is_one_sentence(copy: Work) -> None:
    for option, says in (
        (
            ["-n", "--sdm", "conda"],
            "'conda env create -f environment.yml' makes one environment for all",
        ),
        (["--containerize"], "docs/slurm.md says how jobs run in an image with coder-clip"),
    ):
        done = snakemake(copy, copy.folder, *option, "--configfile", copy.config)
        assert done.returncode != 0
        assert says in last_line(done)


def test_snakemakes_report_has_the_main_tables_and_figures(work: Work) -> None:
    """An empty report is what people get who know Snakemake and not this project."""
    before = work.hashes()
    work.snakemake("--report", "shown.zip")
    with zipfile.ZipFile(work.folder / "shown.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
    main = [e for e in (*TABLES.values(), *FIGURES.values()) if not e.detail]
    assert len(main) > 8
    for exhibit in main:
        for has, file in (
            (exhibit.has_table, f"{exhibit.name}.csv"),
            (exhibit.has_figure, f"{exhibit.name}.png"),
        ):
            assert not has or file in names, file
    assert "report.html" in names
    assert work.hashes() == before, "a report changes nothing"
