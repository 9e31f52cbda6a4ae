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
    """Compile modules of a package in src/ from their sources, never from bytecode, and note the
    sources in ``executed``.

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
            raise ImportError(path)  # Python asks the next finder then
        return FileFinder(path, (Loader, SOURCE_SUFFIXES))

    # finders made before this hook would still read bytecode, so they are forgotten
    sys.path_hooks.insert(0, finder)
    sys.path_importer_cache.clear()


def main(executed: dict[str, str]) -> None:
    """Run the command of a phase and certify its outputs. executed: as `trace_sources` fills it."""
    # Imports come after `trace_sources`, so that every module that takes part is compiled from its
    # source.
    from coder_clip.foundation import evidence

    # after -- comes the command of the phase, as a user would type it
    end = sys.argv.index("--")
    command = sys.argv[end + 1 :]
    # set before `coder_clip.cli` is imported, which looks at the command
    evidence.sources = executed
    evidence.command = command[1]

    from coder_clip.cli import app, one_line_errors
    from coder_clip.pipeline.config import known_folders, load_config
    from coder_clip.tracking.certificates import Job
    from coder_clip.tracking.certify import certified

    job = Job.parse(sys.argv[1:end])
    with one_line_errors():
        config = load_config(os.environ["CODER_CLIP_CONFIG"])
        with certified(job, command, config.results, config, known_folders(config)) as needed:
            # False if the certified outputs are already what this job would make
            if needed:
                forget_files()
                # a command ends with SystemExit; status 0 must still reach the end of `certified`
                try:
                    app(command[1:], prog_name=command[0])
                except SystemExit as done:
                    if done.code:
                        raise


def forget_files() -> None:
    """Clear all caches of functions, so that the files that the job needs are read again and
    noted.
    """
    # By exact type: an object of another library may fail if it is asked for its attributes.
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
