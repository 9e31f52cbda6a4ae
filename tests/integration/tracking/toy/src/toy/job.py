"""A job of the toy, as coder_clip/cli/job.py is one of the real pipeline."""

import importlib
import os
import sys
from pathlib import Path

import yaml

from coder_clip.cli import one_line_errors
from coder_clip.cli.job import trace_sources
from coder_clip.foundation import evidence
from coder_clip.tracking.certificates import Job
from coder_clip.tracking.certify import certified

package = Path(__file__).resolve().parent
sys.path[0] = str(package.parent)
trace_sources(package, evidence.sources)
end = sys.argv.index("--")
job, command = Job.parse(sys.argv[1:end]), sys.argv[end + 1 :]


config = yaml.safe_load(Path(os.environ["CODER_CLIP_CONFIG"]).read_text())
with one_line_errors(), certified(job, command, config.get("results", "results"), config) as needed:
    if needed:
        module = importlib.import_module(f"toy.{command[1]}")
        module.run(evidence.config, job.inputs, job.outputs, command)
