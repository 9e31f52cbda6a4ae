"""What a run tells while it goes: by phase, not by job."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from tqdm import tqdm

from coder_clip.jobs import RULES as LISTED
from snakemake_logger_plugin_coder_clip import LogHandler, Phases

RULES = {
    "encode_images": "image_features",
    "merge_shards": "image_features",
    "fit_adapters": "adapter",
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told(clock: Clock) -> Phases:
    return Phases(RULES, clock)


def test_the_plan_is_a_line(told: Phases) -> None:
    stats = {"encode_images": 4, "merge_shards": 2, "fit_adapters": 3, "all": 1, "total": 10}
    assert told.planned(stats) == "9 jobs: image_features 6, adapter 3"


def test_a_phase_is_told_when_its_last_job_has_ended(told: Phases, clock: Clock) -> None:
    told.planned({"encode_images": 2})
    assert told.started(1, "encode_images", "images of a") == ""
    assert told.started(2, "encode_images", "images of b") == ""
    clock.now = 100
    assert told.finished(1) == ""
    clock.now = 150
    assert told.finished(2) == "image_features   2 jobs, 2 min"
    assert list(told.under_way()) == []


def test_a_long_phase_tells_counts_and_how_long_it_takes(told: Phases, clock: Clock) -> None:
    told.planned({"fit_adapters": 1000})
    for job in range(3):
        told.started(job, "fit_adapters", f"few-shot {job}")
    clock.now = 120
    told.finished(0)
    assert list(told.under_way()) == [
        "adapter          1 of 1,000 jobs, 2 min; now few-shot 1 and 1 more"
    ]


def test_a_long_job_says_how_far_it_has_come(told: Phases, tmp_path: Path) -> None:
    """ "image_features 0 of 1 job, for 5 min", while the job's log said 108 of 159."""
    told.planned({"encode_images": 1})
    log = tmp_path / "encode.log"
    old = tmp_path / "old.log"
    old.write_text("images:  10%|#  | 10/100 [00:01<00:09, 9.9img/s]\n")
    os.utime(old, (0, 0))
    missing = tmp_path / "missing.log"
    told.started(1, "encode_images", "images of a", [str(missing), str(old), str(log)])

    def line() -> str:
        (found,) = told.under_way()
        return found

    assert line().endswith("now images of a"), "no log yet, or that of an earlier run"
    log.write_text("loading 3/4 of it\n" + "x" * 10_000)
    assert line().endswith("now images of a")
    bar = io.StringIO()
    with tqdm(total=1590, desc="images", unit="img", file=bar, ascii=True, ncols=100) as counted:
        counted.update(1080)
        counted.refresh()
        with log.open("a") as stream:
            stream.write(bar.getvalue().replace("\r", "\n"))
    assert line().endswith("now images of a (1,080 of 1,590)")
    told.finished(1)
    assert list(told.under_way()) == []


def test_a_job_that_failed_is_not_under_way(told: Phases) -> None:
    told.planned({"fit_adapters": 1})
    told.started(7, "fit_adapters", "few-shot on a")
    told.failed(7)
    assert list(told.under_way()) == []
    assert told.finished(7) == ""


def test_a_run_without_phases_has_no_line_of_them(told: Phases) -> None:
    """`snakemake prefetch` said "0 jobs: "."""
    assert told.planned({"prefetch": 1, "total": 1}) == ""


def test_jobs_that_come_later_count(told: Phases) -> None:
    """After a download Snakemake plans again, and a phase has more jobs than it was said to have."""
    told.planned({"encode_images": 1})
    told.started(1, "encode_images", "a")
    told.started(2, "encode_images", "b")
    assert told.finished(1) == "", "another one runs"
    assert told.finished(2).startswith("image_features   2 jobs")


# ---- the handler, with Snakemake's records


def record(
    event: LogEvent | None, message: str = "", level: int = logging.INFO, **more: Any
) -> logging.LogRecord:
    found = logging.LogRecord("snakemake", level, __file__, 1, message, None, None)
    vars(found).update(more, **({} if event is None else {"event": event}))
    return found


def handler(**settings: bool) -> LogHandler:
    given = {"verbose": False, "dryrun": False, "stdout": True, **settings}
    return LogHandler(SimpleNamespace(**given), None)  # type: ignore[arg-type]


RUN = [
    record(None, "Building DAG of jobs..."),
    record(LogEvent.RUN_INFO, "Job stats: …", stats={"encode_images": 1, "total": 1}),
    record(None, "Select jobs to execute..."),
    record(LogEvent.JOB_INFO, jobid=1, rule_name="encode_images", rule_msg="images of a"),
    record(LogEvent.SHELLCMD, "coder-clip image-features"),
    record(LogEvent.JOB_FINISHED, "Finished jobid: 1", job_id=1),
    record(LogEvent.PROGRESS, done=1, total=1),
    record(None, "a problem", logging.ERROR),
    record(None, "Left out, because they are not here: dtd"),
]


def test_the_talk_of_jobs_is_left_to_the_log_file(capsys: pytest.CaptureFixture[str]) -> None:
    with_ours = handler()
    for each in RUN:
        with_ours.handle(each)
    with_ours.close()
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "1 job: image_features 1",
        "image_features   1 job, 0 s",
        "a problem",
        "Left out, because they are not here: dtd",
    ]


@pytest.mark.parametrize("setting", ["verbose", "dryrun"])
def test_verbose_and_a_plan_show_all(capsys: pytest.CaptureFixture[str], setting: str) -> None:
    with_all = handler(**{setting: True})
    for each in RUN:
        with_all.handle(each)
    with_all.close()
    assert "Building DAG of jobs..." in capsys.readouterr().out


def test_another_workflow_is_told_as_snakemake_tells_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take the profile for clusters, and has no phases."""
    monkeypatch.chdir(tmp_path)
    of_another = handler()
    for each in RUN:
        of_another.handle(each)
    of_another.close()
    assert "Building DAG of jobs..." in capsys.readouterr().out


def test_what_becomes_of_jobs_of_an_earlier_head_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The one line of a job that people must see: it was not made again."""
    ours = handler()
    group = "b2cebe8e-54ef-5b81-b453-7e8bac3c9fc6"
    submitted = [f"Job {name} has been submitted with SLURM jobid 12" for name in (3, group)]
    for said in (*submitted, "Job 4 is Slurm job 11 of an earlier run"):
        ours.handle(record(None, said))
    ours.close()
    assert capsys.readouterr().out == "Job 4 is Slurm job 11 of an earlier run\n"


def test_a_line_that_cannot_be_written_does_not_end_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake's thread would end, and every later line and error be lost."""
    ours = handler()
    with monkeypatch.context() as patched:
        patched.setattr(LogHandler, "format", lambda *_: 1 / 0)
        ours.handle(record(None, "a problem", logging.ERROR))
    ours.handle(record(None, "another problem", logging.ERROR))
    ours.close()
    assert capsys.readouterr().out == "another problem\n"


def test_every_rule_of_a_phase_is_known() -> None:
    """A rule that no phase names would run unseen."""
    assert {"encode_images", "encode_shard", "merge_shards", "fit_adapters"} <= {
        rule.name for rule in LISTED
    }
