"""`coder-clip verify` runs jobs again in a copy: what it says, and that nothing of the clone moves."""

from __future__ import annotations

import hashlib
import json

import pytest

from project import Project

pytestmark = pytest.mark.rest


def outcomes(said: str) -> dict[str, str]:
    """Job -> outcome, from the lines."""
    lines = [line.split(": ")[0].split() for line in said.splitlines() if ": " in line]
    return {words[-1]: " ".join(words[:-1]) for words in lines if "/" in words[-1]}


def test_a_sample_makes_the_same_bytes_and_nothing_moves(toy: Project) -> None:
    """A verification that wrote into the clone, or that only read, would say nothing."""
    before = toy.snapshot()
    said = toy.run("coder-clip", "verify", "--sample", "7").stdout
    assert "7 of 7 jobs made the same bytes" in said
    assert set(outcomes(said).values()) == {"same"}
    assert toy.snapshot() == before


def test_the_seed_draws_the_same_jobs(toy: Project) -> None:
    """Without it nobody could ask a colleague to verify the same sample."""
    first = toy.run("coder-clip", "verify", "-n", "2", "--seed", "3").stdout
    again = toy.run("coder-clip", "verify", "-n", "2", "--seed", "3").stdout
    assert outcomes(first).keys() == outcomes(again).keys()
    assert len(outcomes(first)) == 2


@pytest.mark.parametrize("name", ["score/a", "results/scores/m/a.csv", "./results/scores/m/a.json"])
def test_a_job_by_its_name_or_output(toy: Project, name: str) -> None:
    """A reader of a table has its path, and a reader of `status` the job's name."""
    assert outcomes(toy.run("coder-clip", "verify", name).stdout) == {"score/a": "same"}


def test_a_name_that_nothing_has(toy: Project) -> None:
    """A typing error must not count as verified."""
    done = toy.run("coder-clip", "verify", "scor/a", ok=False)
    assert done.returncode == 1
    assert done.stdout.strip().endswith("(did you mean 'score/a'?)")


def forge(toy: Project, path: str, text: str) -> None:
    """Change an output, and the certificate and its readers' certificates with it, as a cheat
    would.
    """
    old = hashlib.sha256((toy / path).read_bytes()).hexdigest()
    (toy / path).unlink()
    (toy / path).write_text(text)
    new = hashlib.sha256(text.encode()).hexdigest()
    for certificate in (toy / "results/certificates").rglob("*.json"):
        stated = certificate.read_text()
        if old in stated:
            certificate.unlink()
            certificate.write_text(stated.replace(old, new))


def test_a_forged_number_is_found(toy: Project) -> None:
    """This is what the command is for: the forged certificate holds everywhere else."""
    forge(toy, "results/scores/m/a.json", '{"accuracy": 99}')
    assert toy.planned() == []
    done = toy.run("coder-clip", "verify", "score", ok=False)
    assert done.returncode == 1
    assert outcomes(done.stdout) == {"score/a": "differs", "score/b": "same"}
    assert "results/scores/m/a.json; made with the same versions" in done.stdout


def test_versions_that_differ_are_named(toy: Project) -> None:
    """Where bytes differ, the first question is with which versions and on which processor."""
    forge(toy, "results/scores/m/a.json", '{"accuracy": 99}')
    certificate = toy / "results/certificates/scores/score/a.json"
    stated = json.loads(certificate.read_text())
    stated["versions"] |= {"python": "2.7", "machine": "Z80"}
    certificate.unlink()
    certificate.write_text(json.dumps(stated))
    said = toy.run("coder-clip", "verify", "score/a", ok=False).stdout
    assert "made with python 2.7, machine Z80; here python " in said


def test_a_certificate_that_does_not_hold_is_not_verified(toy: Project) -> None:
    """After an edit the job makes other bytes, which contradicts nothing; jobs behind it can be verified."""
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    done = toy.run("coder-clip", "verify", "score/a", "feature/a", ok=False)
    assert done.returncode == 1
    assert outcomes(done.stdout) == {"score/a": "not verified", "feature/a": "same"}
    assert "a parameter changed (threshold 5 → 6)" in done.stdout
    sample = toy.run("coder-clip", "verify", "-n", "9").stdout
    assert "not verified  2 jobs: a parameter changed (threshold 5 → 6)" in sample
    assert "a random sample: 5 of 5 jobs" in sample


def test_an_input_that_is_missing(toy: Project) -> None:
    """A job cannot run without its inputs, and that is said before."""
    (toy / "results/features/m/a.bin").unlink()
    done = toy.run("coder-clip", "verify", "score/a", ok=False)
    assert "its input results/features/m/a.bin is not here ('coder-clip pull'" in done.stdout
    assert "no job was verified" in done.stdout
    assert done.returncode == 1


def test_a_job_that_fails(toy: Project) -> None:
    """A failure is one line with its message, and the other jobs are verified."""
    (toy / "fail").write_text("scores/m/a.json")
    certificate = toy / "results/certificates/scores/score/a.json"
    stated = json.loads(certificate.read_text())
    sha = hashlib.sha256(b"scores/m/a.json").hexdigest()
    stated["files"]["fail"] = sha
    certificate.unlink()
    certificate.write_text(json.dumps(stated))
    done = toy.run("coder-clip", "verify", "score", ok=False)
    assert done.returncode == 1
    assert outcomes(done.stdout) == {"score/a": "failed", "score/b": "same"}
    assert "asked to fail on results/scores/m/a.json" in done.stdout


@pytest.mark.parametrize("path", ["/etc/hostname", "../outside.txt", "data/../../outside.txt"])
def test_a_certificate_that_leaves_the_clone(toy: Project, path: str) -> None:
    """Files that another person's certificate names are put into the copy, and must stay there."""
    (toy.folder.parent / "outside.txt").write_text("x")
    content = (toy.folder / path).read_bytes()
    certificate = toy / "results/certificates/scores/score/a.json"
    stated = json.loads(certificate.read_text())
    stated["files"][path] = hashlib.sha256(content).hexdigest()
    certificate.unlink()
    certificate.write_text(json.dumps(stated))
    done = toy.run("coder-clip", "verify", "score/a", ok=False)
    assert "is not a path inside of this clone" in done.stdout
    assert done.returncode == 1


def test_a_file_that_the_certificate_hides(toy: Project) -> None:
    """A certificate that leaves out what its job read would hold after an edit of it."""
    certificate = toy / "results/certificates/texts/text/a.json"
    toy.edit("src/toy/text.py", "Path(source)", "Path('data/b.txt')")
    toy.snakemake()
    stated = json.loads(certificate.read_text())
    del stated["files"]["data/b.txt"]
    certificate.unlink()
    certificate.write_text(json.dumps(stated))
    done = toy.run("coder-clip", "verify", "text/a", ok=False)
    assert outcomes(done.stdout) == {"text/a": "differs"}
    assert "it used data/b.txt, which its record hides" in done.stdout


def test_code_that_the_record_hides(toy: Project) -> None:
    """A record that leaves out a module would hold after an edit of it: `status`, `record` and
    `verify` accepted one.
    """
    certificate = toy / "results/certificates/texts/text/a.json"
    stated = json.loads(certificate.read_text())
    assert stated["modules"].pop("src/toy/common.py")
    certificate.unlink()
    certificate.write_text(json.dumps(stated))
    toy.edit("src/toy/common.py", "rename;", "rename, safely;")
    done = toy.run("coder-clip", "verify", "text/a", ok=False)
    assert outcomes(done.stdout) == {"text/a": "differs"}
    assert "it used src/toy/common.py, which its record hides" in done.stdout
