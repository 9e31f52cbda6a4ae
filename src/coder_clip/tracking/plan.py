"""All jobs of a configuration, and the present values of the keys that certificates name.

The jobs are found from the targets back, by the rules of the Snakefile, as Snakemake does it. The
Snakefile asks when all its rules are known (workflow/rules/tracking.smk), because Snakemake itself
knows its jobs only when it has decided which of them run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from ..foundation.installed import extra_advice
from ..foundation.reads import ABSENT, lookup
from ..pipeline.phase_list import phases
from .certificates import FOLDER, Job, read

# environment variable: the file where a Snakemake that runs nothing notes the plan
PLAN = "CODER_CLIP_PLAN"


@dataclass(frozen=True)
class Plan:
    """All jobs of a configuration that make files, and present values of keys.

    The keys are those that certificates name.

    program: the script that runs a job. folders: whose files certificates do not name. requests:
    rule, threads and resources of each job that a cluster would run, if the plan has its profile.
    """

    jobs: list[Job]
    values: dict[str, Any]
    program: str = ""
    folders: tuple[str, ...] = ()
    requests: list[dict[str, Any]] = field(default_factory=list)

    def value(self, key: str) -> Any:
        """The present value of a configuration key; ABSENT if there is none."""
        return self.values.get(key, ABSENT)


def jobs_of(rules: Mapping[str, Any], constraints: Mapping[str, str]) -> list[Job]:
    """The jobs of all phases that the rule ``all`` needs.

    rules: name -> rule, as Snakemake's ``rules`` has it. constraints: wildcard -> regular
    expression."""
    names = [name for phase in phases() for name in phase.commands if name in rules]
    makers = [
        (name, _pattern(output, constraints)) for name in names for output in rules[name].output
    ]
    found: dict[str, Job] = {}
    seen = set[str]()
    waiting = [path for item in rules["all"].input for path in _files(item, {})]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        # the first rule whose output fits makes the file
        matches = ((name, pattern.fullmatch(path)) for name, pattern in makers)
        for name, match in matches:
            if match is None:
                continue
            wildcards = match.groupdict()
            inputs = [i for item in rules[name].input for i in _files(item, wildcards)]
            outputs = [o for item in rules[name].output for o in _files(item, wildcards)]
            job = Job.of(name, wildcards, inputs, outputs)
            found[job.name] = job
            waiting += job.inputs
            break
    return [found[name] for name in sorted(found)]


def _pattern(output: Any, constraints: Mapping[str, str]) -> re.Pattern[str]:
    """An output of a rule as a regular expression with a group for each wildcard."""
    pattern = re.escape(os.path.normpath(output))
    for name in dict.fromkeys(re.findall(r"{(\w+)}", str(output))):
        wildcard = re.escape(f"{{{name}}}")
        group = f"(?P<{name}>{constraints.get(name, '.+')})"
        # a wildcard that occurs twice must have the same value in both places
        pattern = pattern.replace(wildcard, group, 1).replace(wildcard, f"(?P={name})")
    return re.compile(pattern)


def _files(item: Any, wildcards: Mapping[str, str]) -> Iterator[str]:
    """The paths of an input or output of a rule, which can be a function."""
    # imported here, where Snakemake is loaded anyway: other commands start half a second earlier
    from snakemake.exceptions import IncompleteCheckpointException
    from snakemake.iocontainers import Wildcards

    if callable(item):
        try:
            item = item(Wildcards(fromdict=dict(wildcards)))
        except IncompleteCheckpointException:  # waits for a download, which is part of no result
            return
    else:
        item = re.sub(r"{(\w+)}", lambda found: wildcards[found[1]], str(item))
    for path in [item] if isinstance(item, (str, Path)) else item:
        normal = os.path.normpath(path)
        # normpath drops the "/" at the end, which marks a folder
        yield f"{normal}/" if str(path).endswith("/") else normal


def requests_of(workflow: Any, jobs: Iterable[Job]) -> list[dict[str, Any]]:
    """Rule, threads and resources of each job that would not run on the head.

    Empty without default resources, which every profile of a cluster has. workflow: of Snakemake.
    """
    from snakemake.iocontainers import Wildcards

    if workflow.resource_settings.default_resources is None:
        return []
    found = []
    for job in jobs:
        # `is_local` would say True of every rule, because this process runs nothing elsewhere
        if job.rule not in workflow._localrules:
            rule = workflow.get_rule(job.rule)
            asked = rule.expand_resources(Wildcards(fromdict=job.wildcards), [], attempt=1)
            named = {key: value for key, value in asked.items() if not key.startswith("_")}
            found.append({"rule": job.rule, "threads": asked["_cores"], "resources": named})
    return found


def plan(config: str | Path, keys: Iterable[str] = (), profile: Path | None = None) -> Plan:
    """The plan, from a Snakemake process that runs nothing.

    keys: configuration keys to look up, besides the keys that certificates here name. profile: of a
    cluster, whose resources the plan notes. UserError with Snakemake's message if Snakemake cannot
    read the Snakefile.
    """
    if find_spec("snakemake") is None:
        raise UserError(extra_advice("snakemake"))
    command = [sys.executable, "-m", "snakemake", "--list-rules", "--nolock", "--quiet", "all"]
    if profile:
        command += ["--profile", str(profile)]
    with tempfile.NamedTemporaryFile("w+", prefix="coder-clip-plan-", encoding="utf-8") as file:
        # the keys are line one, and Snakemake adds the plan as line two
        file.write(json.dumps(list(keys)) + "\n")
        file.flush()
        # without downloads, because no result holds one
        variables = {**os.environ, PLAN: file.name, "CODER_CLIP_FETCH": "false"}
        done = subprocess.run(
            [*command, "--configfile", str(config)],
            capture_output=True,
            text=True,
            check=False,
            env=variables,
        )
        noted = Path(file.name).read_text(encoding="utf-8").splitlines()
    if done.returncode or len(noted) < 2:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        said = [line.removeprefix("coder-clip: error: ") for line in said] or ["no answer"]
        raise UserError(f"Snakemake cannot plan: {one_line(said[-1], 500)}")
    document = json.loads(noted[1])
    jobs = [Job.of(**job) for job in document.pop("jobs")]
    return Plan(jobs, **document)


def known(
    results: str | Path,
    config: Any,
    jobs: Iterable[Job],
    keys: Iterable[str] = (),
    program: str = "",
    folders: Iterable[Path] = (),
) -> Plan:
    """The plan of these jobs, with the present values of the keys that certificates here name, and
    of ``keys``.
    """
    named = set(keys)
    for path in (Path(results) / FOLDER).rglob("*.json"):
        certificate = read(path)
        if certificate:
            named |= certificate.values.keys()
    return Plan(
        list(jobs),
        {key: lookup(config, key) for key in sorted(named)},
        program,
        tuple(map(str, folders)),
    )


def note_plan(
    results: str | Path,
    config: Any,
    jobs: Iterable[Job],
    program: str,
    folders: Iterable[Path],
    requests: list[dict[str, Any]],
) -> None:
    """In the Snakemake process of `plan`: write the plan to the file that PLAN names.

    Line one of that file has the keys to look up. program, folders, requests: as in `Plan`.
    """
    noted = Path(os.environ[PLAN])
    keys = json.loads(noted.read_text(encoding="utf-8"))
    there = replace(known(results, config, jobs, keys, program, folders), requests=requests)
    with noted.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(there)) + "\n")
