"""Evidence of what this process executes and writes, for the certificate of a job (`coder_clip.tracking`).

Empty outside jobs. `cli/job.py` fills ``sources`` and names the command; `tracking.certify` sets ``written``, which
`write_bytes` fills.
"""

from __future__ import annotations

command = ""  # of coder-clip, such as "zero-shot"
# source file of this package -> sha256 of the bytes that were compiled and executed
sources: dict[str, str] = {}
written: dict[str, str] | None = None  # path -> sha256 of the bytes that were written
