"""Commands without their start: a process that has imported Snakemake, DVC and coder_clip forks a
child for each.

    with warm(folder) as bin: …

Programs in this folder, first on PATH, do what snakemake, dvc, coder-clip and python do, without
the second or two in which these only import; so do those that they start in turn, as
sys.executable is the python of this folder. With ``fresh`` each child imports this project's own
packages itself, from PYTHONPATH: for a copy of the repository whose sources a test edits.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAMS = {"snakemake": "snakemake.cli", "dvc": "dvc.cli", "coder-clip": "coder_clip.cli"}
OWN = ("coder_clip", "coder_clip_photos", "snakemake_executor_plugin_slurm_resilient")
CLIENT = """#!{python} -SI
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect({address!r})
socket.send_fds(s, [json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
os._exit(int(s.recv(16) or b"255"))
"""
MESSAGE = 1 << 17  # bytes


@contextlib.contextmanager
def warm(folder: Path, fresh: bool = False, **more: str) -> Iterator[Path]:
    """Folder of the programs. It ends with the block, and with the process that entered it.

    more: of the environment that libraries see when they are imported.
    """
    folder.mkdir(parents=True)
    address = folder / "socket"
    for name in (*PROGRAMS, "python"):
        (folder / name).write_text(CLIENT.format(python=sys.executable, address=str(address)))
        (folder / name).chmod(0o755)
    command = [sys.executable, __file__, str(address), "fresh" if fresh else ""]
    pipe = subprocess.PIPE
    names = {**os.environ, **more}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=names) as server:
        assert server.stdin
        assert server.stdout
        try:
            assert server.stdout.readline() == b"ready\n"
            yield folder
        finally:
            server.stdin.close()


def serve(address: str, fresh: bool) -> None:
    for name in PROGRAMS.values():
        importlib.import_module(name)
    if fresh:
        for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
            del sys.modules[name]
    sys.executable = str(Path(address).with_name("python"))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(address)
    listening.listen()
    learned, teacher = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listening, learned, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        if learned in ready:  # what children had to import the next ones shall find
            for name in learned.recv(MESSAGE).decode().split():
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        if listening in ready:
            caller, _ = listening.accept()
            message, descriptors, *_ = socket.recv_fds(caller, MESSAGE, 3)
            if message and os.fork() == 0:
                become(json.loads(message), descriptors, caller, teacher)
            for descriptor in descriptors:
                os.close(descriptor)
            caller.close()


def become(
    message: list[Any], descriptors: list[int], caller: socket.socket, teacher: socket.socket
) -> None:
    """Be the program, and say how it ended. Does not return."""
    argv, cwd, environment = message
    code: Any = 1
    imported = set(sys.modules)
    gc.disable()  # it would copy every page, for a process that soon ends
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for n, descriptor in enumerate(descriptors):
            os.dup2(descriptor, n)
            os.close(descriptor)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        # as Python does when it starts
        sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
        importlib.invalidate_caches()
        code = run(argv)
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    importlib.import_module("atexit")._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    with contextlib.suppress(OSError):
        caller.send(str(int(code or 0)).encode())
        installed = (sys.prefix, sys.base_prefix)
        more = {
            n: getattr(m, "__file__", None) or ""
            for n, m in sys.modules.items()
            if n not in imported
        }
        teacher.send(" ".join(n for n, file in more.items() if file.startswith(installed)).encode())
    os._exit(0)


def run(argv: list[str]) -> Any:
    if argv[1:2] == ["-m"] and argv[2] in PROGRAMS:
        argv = argv[2:]
    name, *arguments = argv
    program = Path(name).name
    if program in PROGRAMS:
        sys.argv = argv
        if program == "coder-clip" and os.path.isfile("src/toy/jobs.py"):
            sys.path.insert(1, os.path.abspath("src"))
            importlib.import_module("toy.jobs").install()
        return importlib.import_module(PROGRAMS[program]).main()
    if arguments[:1] == ["-m"]:
        sys.argv = arguments[1:]
        sys.path[0] = os.getcwd()
        sys.modules.pop(arguments[1], None)
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[:1] == ["-c"]:
        sys.argv = ["-c", *arguments[2:]]
        sys.path[0] = ""
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    elif arguments and not arguments[0].startswith("-"):
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        raise SystemExit(f"{argv}: only python -m MODULE …, python -c … and python FILE …")
    return 0


if __name__ == "__main__":
    serve(sys.argv[1], fresh=bool(sys.argv[2]))
