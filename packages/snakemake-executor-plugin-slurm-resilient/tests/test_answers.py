"""Each error of Slurm is final, passes, or is waited for up to an hour: by its own list of errors."""

from __future__ import annotations

import pytest

from slurm_words import errors
from snakemake_executor_plugin_slurm_resilient.answers import FINAL, PASSES, final, passes
from snakemake_executor_plugin_slurm_resilient.patience import Patience

POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
FAILED = "sbatch: error: Batch job submission failed: "
# messages of sbatch and of its client library that are not in slurm_errno
OF_PROGRAMS = (*FINAL[FINAL.index("unrecognized option") :], "no answer in", "Connection refused")


def test_each_error_of_slurm_waits_or_is_listed_as_final() -> None:
    """A job that is given up for a fault that passes is lost; one that waits for ever, too."""
    said = errors()
    assert len(said) > 250
    waits = [text for text in said if not final(FAILED + text) and not passes(FAILED + text)]
    for text in (
        "I/O error writing script/environment to file",
        "Message receive failure",
        "Requested operation is presently disabled",
        "Unable to create job record, try again",
        "Slurm internal error, contact system administrator",
        "Licenses currently unavailable",
        "Protocol authentication error",
        "Invalid job credential",
    ):
        assert text in waits
    patience = Patience(most=3600)
    for text in said:
        assert patience.over(FAILED + text) == final(FAILED + text)


@pytest.mark.parametrize("message", [text for text in FINAL + PASSES if text not in OF_PROGRAMS])
def test_each_listed_message_is_one_of_slurm(message: str) -> None:
    """Else a word that Slurm never says would hide that the right one is missing."""
    limits = ("SubmitJobsLimit", "SubmitJobLimit", "SubmitJobPer")
    known = [*errors(), *limits, "Connection reset", "Connection timed out", "Socket timed out"]
    assert any(message.lower() in text.lower() for text in known)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}{POLICY}", "passes"),
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{FAILED}{POLICY}", "passes"),
        (f"sbatch: error: AssocGrpSubmitJobsLimit\n{FAILED}{POLICY}", "passes"),
        (f"sbatch: error: QOSMaxMemoryPerJob\n{FAILED}{POLICY}", "final"),
        ("sbatch: no answer in 60 s", "passes"),  # of a hanging sbatch
        ("sbatch: unrecognized option '--frob'", "final"),
        ("sbatch: error: fork: Cannot allocate memory", "waits"),
        (FAILED + "Unspecified error", "waits"),
        ("sbatch cannot be started: Permission denied", "waits"),
        ("", "waits"),
    ],
)
def test_what_a_site_s_programs_say(said: str, kind: str) -> None:
    assert {"final": final(said), "passes": passes(said), "waits": True}[kind]
    assert (kind == "waits") == (not final(said) and not passes(said))


def test_patience_ends_after_the_time_that_was_given() -> None:
    assert not Patience(most=3600).over("Unspecified error")
    assert Patience(most=-1).over("Unspecified error")
    assert not Patience(most=-1).over("Unable to contact slurm controller (connect failure)")


def test_pauses_grow_to_a_minute() -> None:
    patience = Patience(most=0)
    assert [patience.pause() for _ in range(8)] == [1, 4, 8, 16, 32, 60, 60, 60]
