"""A real Slurm cluster on this machine, in one folder: munge, slurmctld, three slurmd, on request
slurmdbd.

    python cluster.py start /tmp/cluster     then: source /tmp/cluster/env
    python cluster.py stop /tmp/cluster

Nodes n1 and n2 (partition cpu, the default; scavenge, whose jobs are cancelled and urgent, for
whose jobs others make room) and g1 (partition gpu, two pretended GPUs of model h100, and pretended
scratch space), eight CPUs and 16000 MB each whatever the machine has. Without systemd, cgroups or a
file outside the folder. Debian packages: slurmctld slurmd slurm-client munge; for accounting also
slurmdbd slurm-wlm-mysql-plugin mariadb-server.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

NODES = ("n1", "n2", "g1")
SBIN = "/usr/sbin"  # where Debian has the daemons; not in everybody's PATH
NEEDED = ("munged", "slurmctld", "slurmd", "squeue", "sbatch")
NEEDED_FOR_ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db")

# Fast and forgiving where a cluster for people is slow and strict: a node counts as down after
# seconds, a requeued job starts at once (cred_expire), the scheduler looks every two seconds.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/sock,cred_expire=10
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
MessageTimeout=5
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.log
DefMemPerCPU=500
EnforcePartLimits=ALL
MinJobAge={min_job_age}
KillWait=2
SlurmdTimeout={node_timeout}
SlurmctldTimeout=60
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu,lscratch
Prolog={folder}/prolog
BatchStartTimeout={batch_start}
{accounting}
{nodes}
PartitionName=cpu Nodes=n1,n2 Default=YES MaxTime={minutes} DefaultTime=10 PriorityTier=5 State=UP
PartitionName=gpu Nodes=g1 MaxTime={minutes} DefaultTime=10 PriorityTier=5 State=UP
PartitionName=scavenge Nodes=n1,n2 MaxTime={minutes} PriorityTier=1 PreemptMode=CANCEL State=UP
PartitionName=urgent Nodes=n1,n2 MaxTime={minutes} PriorityTier=9 PreemptMode=OFF State=UP
"""


def missing(accounting: bool = False) -> str:
    """Why there can be no cluster on this machine; empty where there can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), SBIN])
    needed = NEEDED + (NEEDED_FOR_ACCOUNTING if accounting else ())
    absent = [name for name in needed if shutil.which(name, path=path) is None]
    if absent:
        packages = "slurmctld slurmd slurm-client munge" + (
            " slurmdbd slurm-wlm-mysql-plugin mariadb-server" if accounting else ""
        )
        return f"no {', '.join(absent)}: apt-get install {packages}"
    return "" if os.geteuid() == 0 else "a cluster needs root, so that jobs can run as their user"


def eventually(
    what: str, done: Callable[[], object], seconds: float = 300, every: float = 0.25
) -> None:
    """Wait for it; TimeoutError says what did not happen."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


def free_ports(count: int = 10) -> int:
    """The first of so many ports in a row that nobody listens on; test processes side by side start
    apart.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for base in range(16810 + 40 * worker + 200 * (os.getpid() % 40), 32000, 200):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(base, base + count):
                stack.enter_context(socket.socket()).bind(("", port))
            return base
    raise RuntimeError("no free ports")


@dataclass(frozen=True)
class Job:
    """One row of `squeue --states=all`."""

    id: str
    state: str
    partition: str
    node: str
    gpus: str
    memory: str
    cpus: str
    name: str
    comment: str
    reason: str
    start: str


@dataclass
class Cluster:
    folder: Path
    base_port: int = field(default_factory=free_ports)
    accounting: bool = False
    min_job_age: int = 300
    node_timeout: int = 300
    cpus: int = 8  # a node's, pretended
    memory: int = 16000  # MB
    gpus: int = 2  # of g1
    minutes: int = 120  # that a job may run
    start_seconds: int = 0  # that a node needs before a job starts on it
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder).resolve()
        path = os.pathsep.join([os.environ.get("PATH", ""), SBIN])
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    # ---- whole ---

    def start(self) -> None:
        """Up and idle in a second; whatever fails, nothing is left running."""
        for name in ("munge", "state", "log", *(f"spool/{n}" for n in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("", "munge"):  # munged refuses a socket in a private folder
            (self.folder / name).chmod(0o755)
        self._write()
        try:
            self._munge()
            if self.accounting:
                self._database()
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            eventually("three idle nodes", lambda: self.nodes() == dict.fromkeys(NODES, "idle"))
        except BaseException as error:
            logs = "\n".join(
                p.read_text(errors="replace")[-1500:] for p in self.folder.glob("log/*.log")
            )
            self.stop()
            raise RuntimeError(f"{error}\n{logs}") from error

    def stop(self) -> None:
        for node in NODES:
            self._end(f"slurmd-{node}.pid")
        for name in ("slurmctld.pid", "slurmdbd.pid", "mariadbd.pid", "munge/pid"):
            self._end(name)
        for pid in self._left_by_jobs():  # without cgroups a cancelled job can leave processes
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # ---- parts ---

    def start_controller(self) -> None:
        self.run("slurmctld")  # succeeds, and dies of a wrong configuration a moment later: so ask
        eventually("slurmctld answers", lambda: " UP" in self.ask("scontrol", "ping"))

    def stop_controller(self) -> None:
        self._end("slurmctld.pid")

    def start_database(self) -> None:
        """The daemon between Slurm and its accounting database."""
        self.run("slurmdbd")
        eventually("slurmdbd answers", lambda: self._answers("sacctmgr", "-n", "list", "cluster"))

    def stop_database(self) -> None:
        self._end("slurmdbd.pid")

    def forget(self) -> None:
        """The controller loses its state, and with it all jobs."""
        self.stop_controller()
        shutil.rmtree(self.folder / "state")
        (self.folder / "state").mkdir()
        self.start_controller()

    def start_node(self, node: str) -> None:
        self.run("slurmd", "-N", node)

    def kill_slurmd(self, node: str) -> None:
        """The daemon alone; jobs of the node go on."""
        os.kill(self._pid(f"slurmd-{node}.pid"), signal.SIGKILL)
        (self.folder / f"slurmd-{node}.pid").unlink()

    def crash(self, node: str) -> None:
        """The daemon and everything that runs on the node; first what would tell the controller of
        it.
        """
        self.kill_slurmd(node)
        jobs = list(self._left_by_jobs(node))
        parents = {_parent(pid) for pid in jobs}
        watchers = {parent for parent in parents if b"slurmstepd" in _command(parent)}
        for pid in [*watchers, *jobs]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def limit_submissions(self, jobs: int | None) -> None:
        """How many a user may have in the queue, by the accounting database."""
        limit = -1 if jobs is None else jobs
        self.run(
            "sacctmgr", "-i", "modify", "user", getpass.getuser(), "set", f"MaxSubmitJobs={limit}"
        )

    # ---- questions ---

    def run(self, *command: str) -> str:
        """A command of Slurm that must work."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def ask(self, *command: str) -> str:
        """Its answer; nothing where it fails."""
        try:
            return self.run(*command)
        except (RuntimeError, subprocess.TimeoutExpired):
            return ""

    def nodes(self) -> dict[str, str]:
        """Name -> state: idle, mixed, allocated, down*, …"""
        return dict(row.split("|") for row in self.ask("sinfo", "-hN", "-o", "%N|%T").split())

    def jobs(self) -> list[Job]:
        """All jobs that the controller remembers, oldest first."""
        rows = self.run(
            "squeue", "--states=all", "-h", "-o", "%i|%T|%P|%N|%b|%m|%C|%j|%k|%r|%S"
        ).splitlines()
        return sorted((Job(*row.split("|")) for row in rows), key=lambda job: int(job.id))

    def live(self) -> list[Job]:
        return [
            j for j in self.jobs() if j.state in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")
        ]

    def cancel_all(self) -> None:
        """For the next test."""
        ids = [j.id for j in self.live()]
        if ids:
            self.ask("scancel", *ids)
            with contextlib.suppress(TimeoutError):
                eventually("no job left", lambda: not self.live(), 20)

    # ---- how ---

    def _write(self) -> None:
        host = socket.gethostname().split(".")[0]
        gres = f" Gres=gpu:h100:{self.gpus},lscratch:1000"
        nodes = [
            f"NodeName={n} NodeHostname={host} NodeAddr=127.0.0.1 Port={self.base_port + 1 + i} "
            f"CPUs={self.cpus} RealMemory={self.memory}{gres if n == 'g1' else ''}"
            for i, n in enumerate(NODES)
        ]
        accounting = ["AccountingStorageType=accounting_storage/none"]
        if self.accounting:
            accounting = [
                "AccountingStorageType=accounting_storage/slurmdbd",
                "AccountingStorageHost=localhost",
                f"AccountingStoragePort={self.base_port + 9}",
                f"AccountingStoragePass={self.folder}/munge/sock",
                "AccountingStorageTRES=gres/gpu",
                "AccountingStorageEnforce=associations,limits,qos",
            ]
        values = {
            "host": host,
            "user": getpass.getuser(),
            "folder": self.folder,
            "port": self.base_port,
            "minutes": self.minutes,
            "min_job_age": self.min_job_age,
            "node_timeout": self.node_timeout,
            "batch_start": self.start_seconds + 30,
            "accounting": "\n".join(accounting),
            "nodes": "\n".join(nodes),
        }
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
        prolog = self.folder / "prolog"
        prolog.write_text(f"#!/bin/sh\nsleep {self.start_seconds}\n")
        prolog.chmod(0o755)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        # a GPU needs a device node of its own, else CUDA_VISIBLE_DEVICES stays unset
        (self.folder / "dev").mkdir(exist_ok=True)
        for i in range(self.gpus):
            with contextlib.suppress(FileExistsError):
                (self.folder / f"dev/gpu{i}").symlink_to("/dev/null")
        gpus = f"NodeName=g1 Name=gpu Type=h100 File={self.folder}/dev/gpu[0-{self.gpus - 1}]\n"
        (self.folder / "gres.conf").write_text(f"{gpus}NodeName=g1 Name=lscratch Count=1000\n")
        exports = f'export SLURM_CONF={self.folder}/slurm.conf PATH="$PATH:{SBIN}"\n'
        (self.folder / "env").write_text(exports)

    def _munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(1024))
        self.run(
            "munged",
            f"--socket={folder}/sock",
            f"--key-file={key}",
            f"--pid-file={folder}/pid",
            f"--log-file={folder}/log",
            f"--seed-file={folder}/seed",
        )

    def _database(self) -> None:
        folder, user = self.folder / "db", getpass.getuser()
        if not (folder / "mysql").exists():
            self.run(
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={folder}",
                f"--user={user}",
                "--skip-test-db",
            )
        with (self.folder / "log/mariadbd.log").open("w") as log:
            subprocess.Popen(
                [
                    shutil.which("mariadbd", path=self.environment["PATH"]) or "mariadbd",
                    "--no-defaults",
                    f"--user={user}",
                    f"--datadir={folder}",
                    f"--socket={folder}/sock",
                    f"--pid-file={self.folder}/mariadbd.pid",
                    "--skip-networking",
                    "--innodb-buffer-pool-size=64M",
                    "--innodb-lock-wait-timeout=900",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        create = (
            "mariadb",
            "-S",
            f"{folder}/sock",
            "-e",
            "CREATE DATABASE IF NOT EXISTS slurm_acct_db",
        )
        eventually("the database answers", lambda: self._answers(*create))
        configuration = self.folder / "slurmdbd.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            f"AuthType=auth/munge\nAuthInfo=socket={self.folder}/munge/sock\nDbdHost=localhost\n"
            f"DbdPort={self.base_port + 9}\nSlurmUser={user}\nLogFile={self.folder}/log/slurmdbd.log\n"
            f"PidFile={self.folder}/slurmdbd.pid\nStorageType=accounting_storage/mysql\n"
            f"StorageHost=localhost\nStorageUser={user}\nStorageLoc=slurm_acct_db\n"
        )
        os.environ["MYSQL_UNIX_PORT"] = f"{folder}/sock"
        self.start_database()
        for what in (
            ("cluster", "test"),
            ("account", "lab", "Cluster=test"),
            ("user", user, "Account=lab", "Cluster=test"),
        ):
            self.ask("sacctmgr", "-i", "add", *what)

    def _answers(self, *command: str) -> bool:
        try:
            self.run(*command)
        except (RuntimeError, subprocess.TimeoutExpired):
            return False
        return True

    def _pid(self, name: str) -> int:
        return int((self.folder / name).read_text())

    def _end(self, name: str) -> None:
        """TERM, wait, KILL; a zombie counts as gone."""
        try:
            pid = self._pid(name)
            os.kill(pid, signal.SIGTERM)
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return
        try:
            eventually(f"{name} ends", lambda: _gone(pid), 10)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        (self.folder / name).unlink(missing_ok=True)

    def _left_by_jobs(self, node: str | None = None) -> Iterator[int]:
        """Processes of jobs of this cluster, of one node or all, by their environment."""
        mine = {f"SLURM_CONF={self.folder}/slurm.conf".encode()}
        if node is not None:
            mine.add(f"SLURMD_NODENAME={node}".encode())
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                values = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if mine <= set(values) and any(v.startswith(b"SLURM_JOB_ID=") for v in values):
                yield int(entry.parent.name)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> list[str]:
    """State, parent, …; of a process that is gone: Z, as of a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z", "0"]


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _gone(pid: int) -> bool:
    return _stat(pid)[0] == "Z"


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        sys.exit(__doc__)
    cluster = Cluster(Path(sys.argv[2]), accounting=bool(os.environ.get("WITH_ACCOUNTING")))
    reason = missing(cluster.accounting)
    if reason:
        sys.exit(reason)
    if sys.argv[1] == "stop":
        cluster.stop()
        return
    cluster.start()
    print(cluster.run("sinfo", "-Nel"), f"\nsource {cluster.folder}/env", sep="")


if __name__ == "__main__":
    main()
