"""Run a phase's command as a job of Snakemake and certify what it writes. Run as a script, not
imported::

    python src/coder_clip/cli/job.py '{"rule": …, "wildcards": {…}}' \
        --inputs … --outputs … -- coder-clip …

Python compiles a script from its source. From here on every module of this package is compiled from
its source, too, and the source's hash is noted: bytecode in ``__pycache__`` can be that of another
source of the same size and time."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import lru_cache
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType


def trace_sources(package: Path, executed: dict[str, str]) -> None:
    """Compile modules of a package in src/ from their sources, never from bytecode, and note these
    in ``executed``.

    executed: path below the folder of src/ -> sha256 of the bytes that were compiled.
    """

    class Loader(SourceFileLoader):
        def get_code(self, fullname: str) -> CodeType:
            source = self.get_data(self.path)
            path = Path(self.path).relative_to(package.parents[1]).as_posix()
            executed[path] = hashlib.sha256(source).hexdigest()
            return self.source_to_code(source, self.path)

    def finder(path: str) -> FileFinder:
        if Path(path) != package.parent and not Path(path).is_relative_to(package):
            raise ImportError(path)  # which says that other finders look there
        return FileFinder(path, (Loader, SOURCE_SUFFIXES))

    # finders made before this hook would still read bytecode, so they are forgotten
    sys.path_hooks.insert(0, finder)
    sys.path_importer_cache.clear()


def main(executed: dict[str, str]) -> None:
    # Called after `trace_sources`, and imports only now, so that every module that takes part is
    # compiled from its source. `needed` is False if the certified outputs are already what this
    # job would make; then nothing runs.
    from coder_clip.foundation import evidence

    # after -- comes the command of the phase, as a user would type it
    end = sys.argv.index("--")
    command = sys.argv[end + 1 :]
    evidence.sources, evidence.command = (
        executed,
        command[1],
    )  # before the command line, which looks at it

    from coder_clip.cli import app, one_line_errors
    from coder_clip.pipeline.config import known_folders, load_config
    from coder_clip.tracking.certificates import Job
    from coder_clip.tracking.certify import certified

    job = Job.parse(sys.argv[1:end])
    with one_line_errors():
        config = load_config(os.environ["CODER_CLIP_CONFIG"])
        with certified(job, command, config.results, config, known_folders(config)) as needed:
            if needed:
                forget_files()
                # a command ends with SystemExit; status 0 must still reach the end of `certified`
                try:
                    app(command[1:], prog_name=command[0])
                except SystemExit as done:
                    if done.code:
                        raise


def forget_files() -> None:
    """Forget what was read before the job: files that it needs are read again, and noted."""
    # By exact type: another library's object may answer any question about its attributes, or fail
    # at it.
    cached_function = type(lru_cache(forget_files))
    modules = [module for name, module in sys.modules.items() if name.startswith("coder_clip.")]
    for value in [value for module in modules for value in vars(module).values()]:
        if type(value) is cached_function:
            value.cache_clear()


if __name__ == "__main__":
    package, sources = Path(__file__).resolve().parents[1], dict[str, str]()
    sys.path[0] = str(package.parent)  # in place of this script's folder
    trace_sources(package, sources)
    main(sources)
