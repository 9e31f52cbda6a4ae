# A job runs if its certificate does not hold (docs/sharing.md). Times of files decide nothing: for
# Snakemake all inputs are ancient, but those that `outdated` names for a job that must run, and those
# of targets.
import json
import os
from functools import cache
from pathlib import Path

from coder_clip.tracking import plan, rerun
from snakemake.io import flag

PLANNING = plan.PLAN in os.environ  # only to list all jobs
COUNTS = "time_counts"
ALL_JOBS = []
# function of `outdated` or `job` -> name of the rule, when all rules are known
RULE_OF = {}


def list_jobs():
    """Call it at the end of the Snakefile, when all rules are known. On a node only the jobs that
    it was given run.
    """
    for known in workflow.rules:
        functions = [item for item in (*known.input, *known.params) if callable(item)]
        RULE_OF.update({f: known.name for f in functions if f in RULE_OF})
        if not known.output:
            all_of(known.input)
    if workflow.is_main_process:
        by_name = {known.name: getattr(rules, known.name) for known in workflow.rules}
        ALL_JOBS.extend(plan.jobs_of(by_name, CONSTRAINTS))
        if PLANNING:
            requests = plan.requests_of(workflow, ALL_JOBS)
            plan.note_plan(
                RESULTS_FOLDER, CONFIG, ALL_JOBS, JOB_PROGRAM, KNOWN_FOLDERS, requests
            )


def all_of(files):
    """Let Snakemake look for all files of a target as soon as the job of one runs. Behind a job that
    a killed run left it would look at none of the others if they were ancient, and end well with
    files missing.
    """
    for file in files:
        file.flags.pop("ancient", None)


@cache
def judged():
    """Of each job the inputs whose times can count. Snakemake asks when it makes the DAG, and knows
    what is forced.
    """
    if PLANNING or not workflow.is_main_process:
        return {}
    settings = workflow.dag_settings
    return rerun.begin(CONFIG_FILE, RESULTS_FOLDER, CONFIG, ALL_JOBS, settings)


def timeless(item):
    """An input whose time does not count. The files that a function names come here one by one."""
    return item if callable(item) else flag(ancient(item), COUNTS, False)


inputflags:
    timeless,


def outdated():
    """Inputs by which Snakemake knows that a job must run. They come first, because of equal inputs
    the first counts.
    """

    def inputs(wildcards):
        if PLANNING or (
            workflow.is_main_process and not ALL_JOBS
        ):  # the jobs are being listed
            return []
        job = rerun.job_name(RULE_OF[inputs], wildcards)
        files = judged().get(job, {rerun.MARK: False})
        return [
            flag(file, COUNTS) if counts else file for file, counts in files.items()
        ]

    RULE_OF[inputs] = ""
    return inputs


def job():
    """A job's rule and wildcards, for its process."""

    def named(wildcards):
        about = {"rule": RULE_OF[named], "wildcards": dict(wildcards.items())}
        return json.dumps(about)

    RULE_OF[named] = ""
    return named


def record_phases():
    """Record the phases at the end of a run that had a job of one: not after `prefetch` or `smoke`
    alone.
    """
    of_phases = {known.rule for known in ALL_JOBS}
    if any(made.rule.name in of_phases for made in workflow.dag.jobs):
        rerun.finish(CONFIG_FILE, RESULTS_FOLDER, CONFIG, ALL_JOBS)
