"""The process of a job::

    python -m coder_clip.job FOLDER JOB

With the arguments of `rerun.run`. An error of a user is one line, as on the command line.
"""

from __future__ import annotations

import os
import sys

from .rerun import note, run

if __name__ in ("__main__", "__mp_main__") and note.NOTES in os.environ:
    note.attach()  # a worker process of a job
if __name__ == "__main__":
    from .foundation.failures import one_line_errors

    with one_line_errors():
        run.main(*sys.argv[1:])
