"""A job of the toy, as coder_clip/cli/job.py is one of the real pipeline."""

import importlib
import os
import shlex
import sys
from pathlib import Path

import yaml

from coder_clip.foundation import evidence, reads, tracing  # noqa: F401

package = Path(__file__).resolve().parent
sys.path[0] = str(package.parent)
evidence.watch()
tracing.install(package)

from coder_clip.foundation.terminal import one_line_errors  # noqa: E402
from coder_clip.pipeline.phase_list import Call  # noqa: E402
from coder_clip.tracking.certificates import Job, certified  # noqa: E402
from coder_clip.tracking.judge import judged_here  # noqa: E402

end = sys.argv.index("--")
job, words = Job.parse(sys.argv[1:end]), sys.argv[end + 1 :]
config = yaml.safe_load(Path(os.environ["CODER_CLIP_CONFIG"]).read_text())
results, command = config.get("results", "results"), shlex.join(words)
with one_line_errors():
    if not judged_here(job, config, results):
        module = importlib.import_module(f"toy.{words[1]}")
        with certified(job, command, str(Call.of(command)), results, config) as noted:
            module.run(noted, job.inputs, job.outputs, words)
