"""Run the command of a phase as a job of Snakemake, and certify what it writes. Run as a script::

    python src/coder_clip/cli/job.py '{"rule": …, "wildcards": {…}}' \
        --inputs … --outputs … -- coder-clip …

Its worker processes run it, too: multiprocessing begins each by executing the main script.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Run the command of a phase, unless its certificate holds, and certify its outputs."""
    from coder_clip.foundation.terminal import one_line_errors
    from coder_clip.pipeline.config import known_folders, load_config
    from coder_clip.pipeline.phase_list import Call
    from coder_clip.tracking.certificates import Job, certified
    from coder_clip.tracking.judge import judged_here

    # after -- comes the command of the phase, as a user would type it
    end = arguments.index("--")
    job, command = Job.parse(arguments[:end]), shlex.join(arguments[end + 1 :])
    with one_line_errors():
        config = load_config(os.environ["CODER_CLIP_CONFIG"])
        if judged_here(job, config, config.results):
            logging.getLogger("coder_clip").info(
                "nothing to do: this command made these files from the same inputs with the same "
                "code"
            )
            return
        call = Call.of(command)
        run, arguments, known = call.function(), call.arguments, known_folders(config)
        with certified(job, command, str(call), config.results, config, known) as noted:
            run(noted, *arguments, **call.options)


if __name__ in ("__main__", "__mp_main__"):
    package = Path(__file__).resolve().parents[1]
    sys.path[0] = str(package.parent)  # in place of this script's folder
    # What observes is not observed: these modules and what they import are not traced.
    from coder_clip.foundation import evidence, tracing

    evidence.watch()
    tracing.install(package)
    if evidence.NOTES in os.environ:
        evidence.attach()
if __name__ == "__main__":
    main(sys.argv[1:])
