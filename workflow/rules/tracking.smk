# A job runs if its certificate does not hold (docs/sharing.md). Times of files decide nothing: for Snakemake all inputs
# are ancient, but those that `outdated` names for a job that must run.
import json
from functools import cache

from coder_clip import tracking
from snakemake.io import flag

PLANNING = tracking.PLAN in os.environ  # only to list all jobs
COUNTS = "time_counts"
if PLANNING and workflow.is_main_process:
    tracking.note_values(RESULTS_FOLDER, CONFIG)


@cache
def must_run():
    """Jobs that must run, with their inputs. Snakemake asks when it makes the DAG, and then knows what is forced."""
    if (
        PLANNING or not workflow.is_main_process
    ):  # on a node, which runs the jobs that it was given
        return {}
    return tracking.begin(CONFIG_FILE, RESULTS_FOLDER, workflow.dag_settings)


def timeless(item):
    """An input whose time does not count. The files that a function names come here one by one."""
    return item if callable(item) else flag(ancient(item), COUNTS, False)


inputflags:
    timeless,


def outdated(name):
    """Inputs by which Snakemake knows which jobs must run. Put it first: of equal inputs the first counts."""

    def inputs(wildcards):
        files = must_run().get(tracking.job_name(name, wildcards))
        if files:
            return [
                flag(file, COUNTS) if counts else file for file, counts in files.items()
            ]
        return [] if PLANNING else tracking.MARK

    return inputs


def job(name):
    """A job's rule and wildcards, for its process."""

    def named(wildcards, input, output):
        wildcards = dict(wildcards.items())
        if PLANNING:
            tracking.note_job(name, wildcards, input, output)
        return json.dumps({"rule": name, "wildcards": wildcards})

    return named
