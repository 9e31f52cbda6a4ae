# A job runs if its certificate does not hold (docs/sharing.md). Snakemake is told by an input of every job: a file that is
# newer than the outputs of such jobs, and that counts as ancient for all others.
from coder_clip import tracking

if workflow.is_main_process:
    OUTDATED = tracking.begin(CONFIG_FILE, RESULTS_FOLDER)
else:
    OUTDATED = {}  # on a node, which runs the jobs that it was given


def outdated(name):
    """An input by which Snakemake knows whether a job of this rule must run."""
    return lambda wildcards: (
        tracking.MARK
        if tracking.job_name(name, wildcards) in OUTDATED
        else ancient(tracking.MARK)
    )


def job(name):
    """A job's rule and wildcards, for its process."""

    def named(wildcards, input, output):
        values = lambda: decisive_values(name, dict(wildcards.items()))
        return tracking.named(name, dict(wildcards.items()), values, input, output)

    return named
