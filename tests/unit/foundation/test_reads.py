"""What a job reads is noted, whoever wrote the code that reads it; what it does not read moves
nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from coder_clip.tracking.certify import certified
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.cli.job import forget_files
from coder_clip.datasets.entry import entry
from coder_clip.errors import UserError
from coder_clip.foundation import evidence
from coder_clip.foundation.artifacts import sha256, write_text
from coder_clip.foundation.reads import ABSENT, deciding, lookup, observed
from coder_clip.pipeline.config import Config, load_config
from coder_clip.tracking.certificates import Certificate, Job, read
from coder_clip.tracking.judge import Judge

TWO: dict[str, Any] = {
    "datasets": {"shapes": {"views": 3}, "a.b": {"root": "photos"}},
    "models": {"m": {"model": "hf-hub:a/b"}, "n": {"model": "hf-hub:c/d"}},
}
OPERATION = {  # where files are and how the work is distributed: these keys change no result
    *("data_root", "only_present", "fetch", "results"),
    *("features.workers", "features.device", "features.cache", "features.shards"),
    *(
        "generator.base_url",
        "generator.key_variable",
        "generator.max_in_flight",
        "generator.timeout",
    ),
    *("generator.retries", "generator.prices", "generator.max_cost", "generator.headers"),
    "generator.answers",
}


def config(**changes: Any) -> Config:
    return Config.model_validate({**TWO, **changes})


def noted(look: Any, of: Config | None = None) -> dict[str, Any]:
    """What is noted while something looks at a configuration; a look later finds the same."""
    of, found = of or config(), dict[str, Any]()
    look(observed(of, found))
    assert {key: lookup(of, key) for key in found} == found
    return found


def test_a_value_that_is_read_is_noted_by_its_key() -> None:
    assert noted(lambda c: c.rerank.top_k) == {"rerank.top_k": 5}
    assert noted(lambda c: c.datasets["shapes"].views) == {"datasets.shapes.views": 3}
    assert noted(lambda c: c.datasets["a.b"].root) == {"datasets.a.b.root": "photos"}
    assert noted(lambda c: c.rerank) == {}, "a section alone says nothing"
    assert set(noted(lambda c: c.models["m"].model_dump())) == {
        f"models.m.{key}" for key in ("model", "pretrained", "precision", "quick_gelu")
    }


def test_the_names_of_a_table_are_a_value() -> None:
    names = {"datasets": ["shapes", "a.b"]}
    for look in (list, len, sorted, dict.fromkeys, lambda d: d.keys() <= {"x"}):
        assert noted(lambda c, look=look: look(c.datasets)) == names
    assert noted(lambda c: "shapes" in c.datasets) == {}
    assert noted(lambda c: "new" in c.datasets) == {"datasets.new": ABSENT}
    with pytest.raises(KeyError):
        noted(lambda c: c.datasets["new"])


def test_an_optional_section_is_noted_as_there_or_not() -> None:
    """Else a job that asks only whether there is a language model would not run again for one."""
    assert noted(lambda c: bool(c.generator)) == {"generator": None}
    assert noted(lambda c: bool(c.generator), config(generator={"model": "x"})) == {
        "generator": True
    }
    with_one = config(generator={"model": "x", "extra": {"top_p": 1}})
    assert noted(lambda c: c.generator.parameters(1), with_one) == {
        "generator": True,
        "generator.temperature": 0.7,
        "generator.max_tokens": 1000,
        "generator.extra": {"top_p": 1},
        "generator.seed": 0,
    }


def test_of_a_derived_value_only_the_result_counts() -> None:
    """Encoding all images again because another number of shots is tried would cost hours."""
    one = noted(lambda c: c.most_shots(), config(adapter={"shots": [1, 16]}))
    assert one == {"most_shots()": 16}
    assert one == noted(lambda c: c.most_shots(), config(adapter={"shots": [1, 2, 16]}))
    assert noted(lambda c: c.few_shot("shapes")) == {"few_shot(shapes)": True}
    assert noted(lambda c: c.threshold("shapes")) == {"threshold(shapes)": 0.1}, (
        "a published default, too"
    )
    assert noted(lambda c: c.left_out) == {"left_out()": []}
    assert noted(lambda c: c.datasets["shapes"].pair_text_source) == {
        "datasets.shapes.pair_text_source()": None
    }


def test_keys_that_change_no_result_are_not_noted() -> None:
    with_generator = config(generator={"model": "x"})
    keys = set(noted(deciding, with_generator))
    assert "generator.model" in keys
    assert not keys & OPERATION
    for key in OPERATION:
        section, _, name = key.rpartition(".")
        assert noted(
            lambda c, s=section, n=name: getattr(getattr(c, s) if s else c, n), with_generator
        ).keys() <= {"generator"}, key


def test_all_else_of_a_section_counts_as_read_whole() -> None:
    """A copy or a dump of pydantic would read unseen."""
    for look in (
        lambda c: c.model_dump(),
        lambda c: c.model_copy(update={}),
        lambda c: c.model_fields_set,
    ):
        assert {"rerank.top_k", "datasets", "models.m.model"} <= noted(look).keys()


@given(st.text(max_size=40))
def test_a_key_from_elsewhere_is_absent_or_a_value(key: str) -> None:
    """A certificate comes from other people: its keys are looked up, and nothing is called by them."""
    assert lookup(config(), key) is not None or key in ("generator", "")


@pytest.mark.parametrize(
    "key",
    [
        "at(x)",
        "model_dump()",
        "__class__",
        "datasets.shapes.__init__()",
        "few_shot(x",
        "few_shot(no)",
        "datasets.x",
    ],
)
def test_a_key_calls_nothing_but_what_is_meant_for_it(key: str) -> None:
    assert lookup(config(), key) == ABSENT


# ---- the process of a job


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> Job:
    monkeypatch.chdir(tmp_path)
    for name in ("config", "command", "sources", "written", "read"):
        monkeypatch.setattr(evidence, name, getattr(evidence, name))
    put("src/x.py")
    evidence.sources = {"src/x.py": sha256("src/x.py")}
    put("workflow/phases.yaml", "phases: {texts: {target: t, makes: [texts], rules: {text: make}}}")
    put("data/in.txt")
    return Job("text", {}, ("data/in.txt",), ("results/texts/a.json",))


def put(path: str, text: str = "x") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def certificate(job: Job, work: Any, config: Any = None) -> Certificate:
    with certified(job, ["make"], "results", config or {"words": 3}, ["data/photos"]) as needed:
        assert needed
        work(evidence.config)
        write_text(job.outputs[0], "made")
    found = read(job.certificate("results"))
    assert found
    return found


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
    assert found.files.keys() == {"src/words.yaml", "data/"}
    assert found.inputs.keys() == {"data/in.txt"}
    assert not found.doubt
    assert Judge("results", [job], {}.get).outdated == {}
    put("src/words.yaml", "other")
    said = "a file that it read changed (src/words.yaml)"
    assert Judge("results", [job], {}.get).outdated == {"text": said}


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


def test_a_job_reads_again_what_was_read_before_it(job: Job) -> None:
    """The judge had read an entry, the job found it in a cache, and an edit of the file was not
    seen.
    """
    entry("dtd")
    forget_files()
    assert entry.cache_info().currsize == 0


def test_numbers_are_certified_with_all_their_digits(job: Job) -> None:
    """A threshold of ten digits was rounded, never equal to itself, and its jobs ran again for
    ever.
    """
    config = {"threshold": 0.05263157894736842}
    found = certificate(job, lambda read: read["threshold"], config)
    assert found.values == config
    assert Judge("results", [job], config.get).outdated == {}


def test_results_can_have_an_absolute_path(job: Job, tmp_path: Path) -> None:
    """Every job failed: its file was not written, said the message."""
    path = str(tmp_path / "results/texts/a.json")
    other = Job(job.rule, {}, job.inputs, (path,))
    with certified(other, ["make"], tmp_path / "results", {"words": 3}):
        write_text(path, "made")
    found = read(other.certificate(tmp_path / "results"))
    assert found
    assert found.outputs == {path: sha256(path)}


def test_an_input_that_changes_after_it_was_judged_is_doubted(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate named the bytes that the judge had seen, and the job had read others."""
    judged = Judge.reason_to_run

    def then_edit(judge: Judge, job: Job) -> str:
        why = judged(judge, job)
        put("data/in.txt", "edited")
        return why

    monkeypatch.setattr(Judge, "reason_to_run", then_edit)
    found = certificate(job, lambda _: None)
    assert found.inputs == {"data/in.txt": sha256("data/in.txt")}
    assert found.doubt == "data/in.txt changed while it was made"


def test_a_new_file_of_a_folder_that_a_job_lists_is_seen(job: Job) -> None:
    certificate(job, lambda _: list(Path("data").glob("*.txt")))
    judge = Judge("results", [job], {"words": 3}.get)
    assert judge.outdated == {}
    put("data/more.txt")
    assert Judge("results", [job], {"words": 3}.get).outdated == {
        "text": "a file that it read changed (data/)"
    }


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
    mine = load_config("config/c.yaml")

    def work(_: Any) -> None:
        put("config/c.yaml", "damaged: [")
        assert load_config("config/c.yaml").evaluation.bootstrap == 20

    assert certificate(job, work, mine).values == {"evaluation.bootstrap": 20}
    evidence.config = None
    with pytest.raises(UserError):
        load_config("config/c.yaml")


def test_modules_are_known_as_sources(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import lists folders and opens files that `cli/job.py` has noted already."""
    put("src/package/__init__.py", "")
    put("src/package/inner.py", "X = 1")
    evidence.sources |= dict.fromkeys(("src/package/__init__.py", "src/package/inner.py"), "x")
    monkeypatch.syspath_prepend(str(Path("src").resolve()))

    def work(_: Any) -> None:
        import package.inner  # type: ignore[import-not-found]

        assert package.inner.X == 1

    assert certificate(job, work).files == {}
    for name in ("package", "package.inner"):
        sys.modules.pop(name, None)
