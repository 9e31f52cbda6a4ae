"""What the processes of a job do is noted for its certificate: files, folders, variables, keys."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_clip.foundation import evidence
from coder_clip.foundation.artifacts import read_json, write_text
from coder_clip.pipeline.config import load_config
from coder_clip.pipeline.phase_list import Call
from coder_clip.tracking.certificates import PRESENT, Certificate, Job, certified, read
from coder_clip.tracking.judge import Judge

COMMAND = "toy make"
MODULE = "src/x.py"
PHASES = "phases: {texts: {target: t, makes: [texts]}}"
RULES = 'rule text:\n    shell:\n        certify("toy make")\n'


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    monkeypatch.chdir(tmp_path)
    put(MODULE, "def f():\n    return 1\n")
    put("workflow/phases.yaml", PHASES)
    put("workflow/rules/texts.smk", RULES)
    put("data/in.txt")
    yield Job("text", {}, ("data/in.txt",), ("results/texts/a.json",))
    # other tests patch these functions themselves
    os.stat, os.lstat, os.access = evidence._stat, evidence._lstat, evidence._access


def put(path: str, text: str = "x") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def certificate(job: Job, work: Any, config: Any = None) -> Certificate:
    with certified(
        job, COMMAND, str(Call.of(COMMAND)), "results", config or {"words": 3}, ["data/photos"]
    ) as noted:
        evidence.note("block", MODULE, "f()")
        work(noted)
        write_text(job.outputs[0], "made")
    found = read(job.certificate("results"))
    assert found
    return found


def outdated(job: Job, value: Any = None) -> dict[str, str]:
    return Judge("results", [job], value or {"words": 3}.get).outdated


def test_files_that_a_job_opens_are_in_its_certificate(job: Job) -> None:
    """Templates decided which answers are accepted, and no certificate named them."""
    for path in (
        "src/words.yaml",
        "data/photos/1.jpg",
        ".venv/lib/x.txt",
        "results/logs/x.log",
        "data/out.txt",
    ):
        put(path)

    def work(_: Any) -> None:
        for path in (
            "src/words.yaml",
            "data/in.txt",
            "data/photos/1.jpg",
            ".venv/lib/x.txt",
            "results/logs/x.log",
        ):
            Path(path).read_text()
        os.close(os.open("data/out.txt", os.O_WRONLY))
        list(Path("data").glob("*.csv"))
        Path("data/none.txt").exists()

    found = certificate(job, work)
    assert found.files.keys() == {"src/words.yaml", "data/", "data/none.txt"}
    assert found.files["data/none.txt"] == "", "looked for, and not there"
    assert found.inputs.keys() == {"data/in.txt"}
    assert not found.doubt
    assert outdated(job) == {}
    put("src/words.yaml", "other")
    said = "a file that it read changed (src/words.yaml)"
    assert outdated(job) == {"text": said}


def test_what_an_installer_wrote_is_no_evidence(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone has other files there (the README is one of them), and every result of a colleague
    was made again.
    """
    monkeypatch.setattr(sys, "prefix", str(Path("environment").absolute()))
    paths = ("src/coder_clip.egg-info/PKG-INFO", "environment/lib/x.txt")
    for path in paths:
        put(path)
    found = certificate(job, lambda _: [Path(path).read_text() for path in paths])
    assert found.files == {}


def test_numbers_are_certified_with_all_their_digits(job: Job) -> None:
    """A threshold of ten digits was rounded, never equal to itself, and its jobs ran again for
    ever.
    """
    config = {"threshold": 0.05263157894736842}
    found = certificate(job, lambda read: read["threshold"], config)
    assert found.values == config
    assert outdated(job, config.get) == {}


def test_the_order_of_entries_of_a_key_counts(job: Job) -> None:
    """The page shows the templates in the order of the configuration."""
    config: dict[str, Any] = {"templates": {"name": "a", "attribute": "b"}}
    certificate(job, lambda read: read["templates"], config)
    assert outdated(job, config.get) == {}
    config["templates"] = {"attribute": "b", "name": "a"}
    assert outdated(job, config.get)["text"].startswith("a parameter changed (templates")


def test_a_new_file_of_a_folder_that_a_job_lists_is_seen(job: Job) -> None:
    certificate(job, lambda _: list(Path("data").glob("*.txt")))
    assert outdated(job) == {}
    put("data/more.txt")
    assert outdated(job) == {"text": "a file that it read changed (data/)"}


@pytest.mark.parametrize("path", ["data/in.txt", "src/words.yaml"])
@pytest.mark.parametrize("how", ["edited", "swapped and moved back"])
def test_a_file_that_changes_while_a_job_reads_it_is_doubted(job: Job, path: str, how: str) -> None:
    """The other bytes were read, and the certificate named those that are here."""
    put(path, "first")

    def work(_: Any) -> None:
        Path(path).read_text()
        if how == "edited":
            put(path, "other")
        else:
            Path(path).rename("away")
            put(path, "other")
            Path(path).read_text()
            Path("away").replace(path)

    assert certificate(job, work).doubt == f"{path} changed while it was made"


def test_only_what_is_read_of_a_configuration_is_certified(job: Job) -> None:
    assert certificate(job, lambda c: c["words"], {"words": 3, "scale": 2}).values == {"words": 3}


def test_a_job_reads_its_configuration_once(job: Job) -> None:
    """An edit and its reversal while it ran certified a value that no job had used."""
    put(
        "config/c.yaml",
        "datasets: [shapes]\nmodels: {m: {model: 'hf-hub:a/b'}}\nevaluation: {bootstrap: 20}\n",
    )

    def work(config: Any) -> None:
        put("config/c.yaml", "damaged: [")
        assert config.evaluation.bootstrap == 20

    mine = load_config("config/c.yaml")
    assert certificate(job, work, mine).values == {"evaluation.bootstrap": 20}


def test_a_file_that_appears_where_a_job_looked_for_it_is_seen(job: Job) -> None:
    """A list of corrections that was added later changed nothing, and nothing said so."""
    for look in (os.path.exists, os.path.isfile, os.path.isdir, os.path.lexists, _access, _opened):
        certificate(job, lambda _, look=look: look("data/corrections.csv"))
        assert outdated(job) == {}, look
        put("data/corrections.csv")
        said = {"text": "a file that it read changed (data/corrections.csv)"}
        assert outdated(job) == said, look
        Path("data/corrections.csv").unlink()


def _access(path: str) -> None:
    assert not os.access(path, os.R_OK)


def _opened(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        Path(path).read_bytes()


def test_a_file_that_was_only_looked_for_and_goes_is_seen(job: Job) -> None:
    """Its content decides nothing, so an edit of it is no reason to run again."""
    put("data/flag")
    assert certificate(job, lambda _: os.path.exists("data/flag")).files == {"data/flag": PRESENT}
    put("data/flag", "other")
    assert outdated(job) == {}
    Path("data/flag").unlink()
    assert outdated(job) == {"text": "a file that it read changed (data/flag)"}


def test_the_order_of_inputs_counts(job: Job) -> None:
    """The report shows data sets in the order of its inputs; another order planned nothing."""
    put("data/more.txt")
    two = Job(job.rule, {}, ("data/in.txt", "data/more.txt"), job.outputs)
    certificate(two, lambda _: None)
    assert outdated(two) == {}
    turned = Job(job.rule, {}, two.inputs[::-1], job.outputs)
    assert outdated(turned) == {"text": "other inputs than before (another order)"}


def test_a_variable_that_decides_is_certified_by_its_hash(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be a secret, and certificates are shared."""
    monkeypatch.setenv("WORDS", "secret")
    found = certificate(job, lambda _: evidence.variable("WORDS"))
    assert found.variables == {"WORDS": hashlib.sha256(b"secret").hexdigest()}
    assert "secret" not in job.certificate("results").read_text()
    assert outdated(job) == {}
    monkeypatch.delenv("WORDS")
    assert outdated(job) == {"text": "an environment variable changed (WORDS)"}


def test_files_that_are_opened_for_reading_and_writing_count(job: Job) -> None:
    """A database is opened with r+; what is created is a result."""
    put("data/base")

    def work(_: Any) -> None:
        os.close(os.open("data/base", os.O_RDWR))
        sqlite3.connect("data/base.db").close()
        with open("data/new", "w+") as stream:
            stream.write("x")

    assert certificate(job, work).files.keys() == {"data/base", "data/base.db"}


def _in_a_child(queue: Any) -> None:
    Path("data/child.txt").read_text()
    evidence.note("block", MODULE, "g()")
    queue.put(1)


def test_a_forked_process_is_noted(job: Job) -> None:
    """What a process of a pool executed and opened was in no certificate."""
    put(MODULE, "def f():\n    return 1\n\n\ndef g():\n    return 2\n")
    put("data/child.txt")

    def work(_: Any) -> None:
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        child = context.Process(target=_in_a_child, args=(queue,))
        child.start()
        child.join()
        assert child.exitcode == 0

    found = certificate(job, work)
    assert found.files.keys() == {"data/child.txt"}
    assert {"f()", "g()"} <= found.blocks[MODULE].keys()
    put(MODULE, "def f():\n    return 1\n\n\ndef g():\n    return 3\n")
    assert outdated(job) == {"text": "the code changed (src/x.py: g())"}


def test_a_failed_job_writes_no_certificate(job: Job) -> None:
    with pytest.raises(ZeroDivisionError):
        certificate(job, lambda _: 1 / 0)
    assert read(job.certificate("results")) is None
    assert not evidence.noting()


def test_compiled_readers_are_behind_one_door(job: Job) -> None:
    """Arrow and safetensors open files that Python does not report."""
    put("data/x.json", "{}")
    assert certificate(job, lambda _: read_json("data/x.json")).files.keys() == {"data/x.json"}


def test_what_a_killed_run_left_raises_no_doubt(job: Job) -> None:
    """The job removes it, so its certificate named a file that was gone, and it ran again."""
    put("results/texts/.a.json.left.json")
    assert certificate(job, lambda _: None).doubt == ""
    assert not Path("results/texts/.a.json.left.json").exists()
    assert outdated(job) == {}
