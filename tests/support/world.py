"""Two clones of a toy and a remote, the steps that people do there, and what must hold after each
step.

The right content of the toy's files is computed here once more, from sources and configuration
alone (`reference`)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import yaml

from project import Project

PEOPLE = ("ann", "bob")
PHASES = {
    "texts": "texts",
    "features": "features",
    "scores": "scores",
    "report": "report_page",
}  # and targets
CONFIG = "config/reproduce.yaml"
SLOTS: dict[
    str, tuple[str, tuple[str, ...]]
] = {  # what is edited: file, and the texts that can be there
    "a": (
        "data/a.txt",
        ("round red small fruit", "round green small fruit", "round red small apple", "red"),
    ),
    "b": (
        "data/b.txt",
        ("long yellow sweet fruit", "long green sweet fruit", "long yellow sweet banana"),
    ),
    "text": ("src/toy/text.py", ("split()", "split()[::-1]")),
    "feature": ("src/toy/feature.py", (r'b"\n"', 'b";"')),
    "score": ("src/toy/score.py", ("% 100", "% 50", "% 30")),
    "page": ("src/toy/page.py", ("<html>", "<body>")),
    **{  # code that changes no byte: a remark, a function that nobody calls
        f"comment-{name}": (
            f"src/toy/{name}.py",
            ("import", "# one\nimport", "def nobody():\n    return 1\n\n\nimport"),
        )
        for name in ("text", "feature", "score", "page")
    },
    "common": ("src/toy/common.py", ("rename;", "rename, safely;")),
    "words": (CONFIG, ("words: 3", "words: 2", "words: 4")),
    "scale": (CONFIG, ("scale: 2", "scale: 3", "scale: 4")),
    "threshold": (CONFIG, ("threshold: 5", "threshold: 6", "threshold: 7")),
    "style": ("src/toy/style.txt", ("small letters", "capital letters")),  # in no rule's inputs
    "title": (
        CONFIG,
        ("\nwords", "\ntitle: new\nwords", "\nunread: 1\nwords"),
    ),  # a key comes and goes
    # the page shows them in their order
    "sets": (CONFIG, ("sets: [a, b]", "sets: [a]", "sets: [b]", "sets: [b, a]")),
    "command": ("src/toy/jobs.py", ('"plus": 0', '"plus": 1')),
    "same-command": ("src/toy/jobs.py", ('"note": 0', '"note": 1')),
}


def slot(tree: Path, name: str) -> re.Match[str]:
    """What is there now: the first of the texts, and of those that begin there the longest."""
    path, options = SLOTS[name]
    pattern = "|".join(map(re.escape, sorted(options, key=len, reverse=True)))
    found = re.search(pattern, (tree / path).read_text())
    assert found, f"{path} has none of {options}"
    return found


def reference(tree: Path) -> dict[str, bytes]:
    """Every file of the toy's results, as it should be. Nothing of Snakemake, DVC or coder_clip is
    used.
    """
    config = yaml.safe_load((tree / "config/reproduce.yaml").read_text())
    weights = (tree / "data/weights.bin").read_bytes()[:16]
    end = b"\n" if slot(tree, "feature")[0] == r'b"\n"' else b";"
    threshold = config["threshold"] + int(slot(tree, "command")[0].removeprefix('"plus": '))
    files, values = {}, {}
    for name in config["sets"]:
        words = (tree / f"data/{name}.txt").read_text().split()
        if slot(tree, "style")[0].startswith("capital"):
            words = [word.upper() for word in words]
        words = (words[::-1] if "[::-1]" in slot(tree, "text")[0] else words)[: config["words"]]
        feature = ((weights + f"{' '.join(words)}{config['scale']}".encode() + end) * 60000)[
            :1_500_000
        ]
        values[name] = zlib.crc32(feature) % int(slot(tree, "score")[0].split()[1]) + threshold
        files[f"results/texts/{name}.json"] = json.dumps(words).encode()
        files[f"results/features/m/{name}.bin"] = feature
        files[f"results/scores/m/{name}.json"] = json.dumps({"accuracy": values[name]}).encode()
        files[f"results/scores/m/{name}.csv"] = f"accuracy\n{values[name]}\n".encode()
    rows = "".join(f"{name},{value}\n" for name, value in values.items())
    title = config.get("title", "")
    files["results/report.html"] = f"{slot(tree, 'page')[0]}{title}{values}</html>".encode()
    files["results/metrics.json"] = json.dumps(values).encode()
    files["results/tables/main.csv"] = f"set,accuracy\n{rows}".encode()
    return files


def phase_of(path: str) -> str:
    name = path.split("/")[1]
    return name if name in PHASES else "report"


class Wrong(AssertionError):
    """Something was called current and is not what it should be; or something that was shared is
    lost.
    """


class World:
    """Two clones of a bare Git repository, with a DVC remote that is a folder."""

    def __init__(
        self, folder: Path, bin: Path, log: Callable[[str], None] = lambda _: None
    ) -> None:
        self.folder, self.log = folder, log
        self.people = {name: self._project(name, bin) for name in PEOPLE}
        self.bin = bin
        self.ran = ""  # whoever has run just now
        self.pushed: dict[str, dict[str, bytes]] = {}  # commit -> files that it shares

    def _project(self, name: str, bin: Path) -> Project:
        project = Project(self.folder / name)
        project.environment |= {
            "PATH": f"{bin}:{project.environment['PATH']}",
            "DVC_SITE_CACHE_DIR": str(self.folder / "site" / name),
            "GIT_AUTHOR_NAME": name,
            "GIT_COMMITTER_NAME": name,
            "GIT_EDITOR": "true",
        }
        return project

    # ---- what is checked

    def check(self, name: str) -> None:
        """Nobody else's files have changed, so one person is enough."""
        project = self.people[name]
        right = reference(project.folder)
        before = self._traces(project)
        lines = self._snakemake(project)
        table = self._status(project)
        stale = json.loads(self._ok(project, "dvc", "status", "--json").splitlines()[-1])
        if changed := sorted(map(str, dict(before.items() ^ self._traces(project).items()))):
            raise Wrong(f"looking changed {changed}")
        wrong = {path for path, data in right.items() if not self._is(project, path, data)}

        def claim(who: str, paths: set[str]) -> None:
            if bad := sorted(paths & wrong):
                raise Wrong(
                    f"{name}: {who} calls {', '.join(bad)} current, which holds other bytes"
                )

        claim("coder-clip status", {p for p in right if table[phase_of(p)][0] == "yes"})
        if self.ran == name:
            self.ran = ""
            if wrong or stale or any(row != ("yes", "yes") for row in table.values()):
                raise Wrong(
                    f"{name}: after a run {sorted(wrong)} are wrong; status: {table}; DVC: {stale}"
                )
            if again := sorted(path for path, plan in lines.items() if plan != "no update"):
                raise Wrong(f"{name}: after a run Snakemake would make {again} again")
        here = {p for p, plan in lines.items() if plan == "no update" and (project / p).is_file()}
        claim("snakemake", here)  # a file that only others need may be missing

    def _is(self, project: Project, path: str, data: bytes) -> bool:
        return (project / path).is_file() and (project / path).read_bytes() == data

    def _traces(self, project: Project) -> dict[str, tuple[int, ...]]:
        """Every file but those that Git, DVC, Python and Snakemake keep for themselves; its time,
        size and number.
        """
        found = {}
        for folder, folders, names in os.walk(project.folder):
            folders[:] = [
                f for f in folders if f not in (".git", ".dvc", "__pycache__", ".snakemake")
            ]
            for name in names:
                s = os.stat(f"{folder}/{name}")
                found[f"{folder}/{name}"] = s.st_mtime_ns, s.st_size, s.st_ino
        return found

    def _ok(self, project: Project, *command: str) -> str:
        done = project.run(*command, ok=False)
        if done.returncode:
            raise Wrong(f"{project.folder.name}: {' '.join(command)}\n{done.stdout}")
        return done.stdout

    def _snakemake(self, project: Project) -> dict[str, str]:
        said = self._ok(project, "snakemake", "--summary")
        rows = [line.split("\t") for line in said.splitlines() if line.startswith("results/")]
        return {row[0]: row[-1] for row in rows}

    def _status(self, project: Project) -> dict[str, tuple[str, str]]:
        """Phase -> whether it is complete, and whether it is recorded."""
        said = self._ok(project, "coder-clip", "status", "--no-remote")
        head, *rows = said.splitlines()
        at = [head.index(word) for word in ("phase", "complete", "recorded", "pushed")]
        cells = [[row[a:b].strip() for a, b in pairwise(at)] for row in rows]
        table = {
            row[0].split()[0]: (row[1], row[2])
            for row in cells
            if row[0] and row[0].split()[0] in PHASES
        }
        assert list(table) == list(PHASES), said
        return table

    # ---- what people do

    def step(self, words: str) -> None:
        name, what, *arguments = words.split()
        self.log(f"--- {words}")
        before = self._traces(self.people[name])
        getattr(self, f"do_{what.replace('-', '_')}")(self.people[name], *arguments)
        if self.ran or self._traces(self.people[name]) != before:
            self.check(name)

    def _try(self, project: Project, *command: str) -> bool:
        done = project.run(*command, ok=False)
        self.log(f"$ {' '.join(command)}  -> {done.returncode}\n{done.stdout.strip()}")
        if "Traceback (most recent call last)" in done.stdout and "coder_clip" in done.stdout:
            raise Wrong(f"{project.folder.name}: {' '.join(command)}\n{done.stdout}")
        return done.returncode == 0

    def _must(self, project: Project, *command: str) -> None:
        self.log(f"$ {' '.join(command)}")
        self.said = self._ok(project, *command)
        self.log(self.said.strip())

    def do_edit(self, p: Project, name: str, n: str) -> None:
        path, options = SLOTS[name]
        now = slot(p.folder, name)
        text = now.string[: now.start()] + options[int(n) % len(options)] + now.string[now.end() :]
        (p / path).write_text(text)

    def do_weights(self, p: Project, n: str, where: str) -> None:
        """A source above the size of which Snakemake compares the content."""
        data = bytearray((p / "data/weights.bin").read_bytes())
        data[{"head": 0, "tail": -1}[where]] = int(n)
        (p / "data/weights.bin").write_bytes(data)

    def do_run(self, p: Project) -> None:
        """Whatever was stale is right afterwards, and everybody says so."""
        self._must(p, "snakemake", "--cores", "1", "--rerun-incomplete")
        missing = [path for path in reference(p.folder) if not (p / path).is_file()]
        if missing:  # of what is needed for nothing else Snakemake makes what is asked for
            self._must(p, "snakemake", "--cores", "1", *missing)
            self._must(
                p, "snakemake", "--cores", "1"
            )  # one that is newer now than what was made from it
        if "is not made by this configuration" in self.said or "Nothing to be done" in self.said:
            self._must(p, "coder-clip", "record", "--set-aside")
        self.ran = p.folder.name

    def do_part(self, p: Project, phase: str) -> None:
        self._must(p, "snakemake", "--cores", "1", "--rerun-incomplete", PHASES[phase])

    def do_repro(self, p: Project) -> None:
        if self._try(p, "dvc", "repro", "--force"):
            self.ran = p.folder.name

    def do_touch(self, p: Project, *options: str) -> None:
        self._try(p, "snakemake", "--cores", "1", "--touch", *options)

    def do_record(self, p: Project) -> None:
        self._try(p, "coder-clip", "record")

    def do_sneak(self, p: Project, name: str, n: str) -> None:
        """Edit a source so that its time stays, and with some texts its size: Python's bytecode
        counts as current.
        """
        path = p / SLOTS[name][0]
        stat = path.stat()
        self.do_edit(p, name, n)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def do_future(self, p: Project, name: str) -> None:
        """Give a source, or what it decides, a time that is yet to come."""
        stat = (p / SLOTS[name][0]).stat()
        os.utime(p / SLOTS[name][0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**14))

    def do_during(self, p: Project, name: str, n: str, how: str) -> None:
        """Edit a source while a job works that has read it; or edit it, or swap it for another
        file, and back.
        """
        path = p / SLOTS[name][0]
        then = path.read_bytes()
        (p / "pause").write_text("results/")
        process = p.start("snakemake", "--cores", "1", "--rerun-incomplete")
        while process.poll() is None and not (p / "hanging").exists():
            time.sleep(0.05)
        if how == "swap":
            path.rename(p / "hang-aside")
            path.write_bytes(then)
        self.do_edit(p, name, n)
        (p / "pause").unlink()
        time.sleep(0.3)  # the next job may read it
        if how == "swap":
            (p / "hang-aside").replace(path)
        elif how == "back":
            path.write_bytes(then)
        process.communicate()
        (p / "hanging").unlink(missing_ok=True)

    def do_uncertify(self, p: Project, n: str) -> None:
        """Lose a certificate, or swap it for another job's."""
        files = sorted((p / "results/certificates").rglob("*.json"))
        if files and int(n) % 2:
            files[int(n) % len(files)].unlink()
        elif files:
            shutil.copyfile(files[int(n) % len(files)], files[(int(n) + 1) % len(files)])

    def do_spoil(self, p: Project, n: str, when: str) -> None:
        """Other bytes of the same length; with the old time, or a new one."""
        files = sorted(path for path in reference(p.folder) if (p / path).is_file())
        if files:
            path = p / files[int(n) % len(files)]
            stat = path.stat()
            new = path.with_name(
                ".new"
            )  # as an editor does; the old one may be a link into the cache
            new.write_bytes(b"#" + path.read_bytes()[1:])
            new.replace(path)
            if when == "quietly":
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def do_lose(self, p: Project, n: str) -> None:
        files = sorted(path for path in reference(p.folder) if (p / path).is_file())
        if files:
            (p / files[int(n) % len(files)]).unlink()

    def do_forget(self, p: Project) -> None:
        """What Snakemake knows, and what is known of runs."""
        shutil.rmtree(p / ".snakemake", ignore_errors=True)

    def do_save(self, p: Project) -> None:
        p.git("add", "--all")
        p.git("commit", "--quiet", "--allow-empty", "-m", "saved")

    def do_branch(self, p: Project, name: str) -> None:
        if not self._try(p, "git", "switch", "--quiet", name):
            self._try(p, "git", "switch", "--quiet", "-c", name)

    def do_merge(self, p: Project, name: str, side: str) -> None:
        """side: of what is in conflict; "all-ours" and "all-theirs" leave that to Git."""
        strategy = ["-X", side.removeprefix("all-")] if side.startswith("all-") else []
        self._settle(
            p, "merge", side.removeprefix("all-"), "git", "merge", "--no-edit", *strategy, name
        )

    def do_octopus(self, p: Project, *names: str) -> None:
        if not self._try(p, "git", "merge", "--no-edit", *names):
            self._try(p, "git", "reset", "--quiet", "--merge")

    def do_rebase(self, p: Project, name: str, side: str) -> None:
        self._settle(p, "rebase", side, "git", "rebase", name)

    def do_pick(self, p: Project, name: str, side: str) -> None:
        self._settle(p, "cherry-pick", side, "git", "cherry-pick", name)

    def do_revert(self, p: Project, n: str, side: str) -> None:
        self._settle(p, "revert", side, "git", "revert", "--no-edit", f"HEAD~{n}")

    def do_stash(self, p: Project) -> None:
        self._try(p, "git", "stash")

    def do_unstash(self, p: Project, side: str) -> None:
        if not self._try(p, "git", "stash", "pop") and self._unmerged(p):
            self._take(p, side)
            self._try(p, "git", "stash", "drop")

    def do_old(self, p: Project, n: str) -> None:
        self._try(p, "git", "checkout", "--quiet", "--detach", f"HEAD~{n}")

    def do_push(self, p: Project) -> None:
        if not self._try(p, "coder-clip", "push"):
            return
        commit = p.git("rev-parse", "HEAD").strip()
        branch = p.git("rev-parse", "--abbrev-ref", "HEAD").strip()
        branch = f"detached-{commit[:8]}" if branch == "HEAD" else branch
        if self._try(p, "git", "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}"):
            if p.git("status", "--porcelain", "dvc.lock"):
                return  # what was shared is not what is committed
            table = self._status(p)
            mine = {
                path: data
                for path, data in reference(p.folder).items()
                if table[phase_of(path)] == ("yes", "yes")
            }
            self.pushed[commit] = mine

    def do_fetch(self, p: Project, name: str, side: str) -> None:
        """git pull of a branch, conflicts settled, and the results."""
        self._settle(p, "merge", side, "git", "pull", "--no-rebase", "--no-edit", "origin", name)
        self.do_pull(p)

    def do_pull(self, p: Project) -> None:
        self._try(p, "coder-clip", "pull")

    def do_dvc(self, p: Project, *arguments: str) -> None:
        self._try(p, "dvc", *arguments)

    # ---- conflicts

    def _unmerged(self, p: Project) -> list[str]:
        return p.git("diff", "--name-only", "--diff-filter=U").split()

    def _settle(self, p: Project, kind: str, side: str, *command: str) -> None:
        """Run a Git command that may stop at conflicts, and settle each."""
        ended = self._try(p, *command)
        for _ in range(8):
            if ended or not self._busy(p, kind):
                return
            self._take(p, side)
            if kind == "merge":
                ended = self._try(p, "git", "commit", "--quiet", "--no-edit")
            else:
                ended = self._try(p, "git", kind, "--continue") or self._try(
                    p, "git", kind, "--skip"
                )
        raise Wrong(f"{p.folder.name}: {' '.join(command)} does not end")

    def _busy(self, p: Project, kind: str) -> bool:
        names = {"merge": "MERGE_HEAD", "cherry-pick": "CHERRY_PICK_HEAD", "revert": "REVERT_HEAD"}
        if kind == "rebase":
            return (p / ".git/rebase-merge").exists() or (p / ".git/rebase-apply").exists()
        return (p / ".git" / names[kind]).exists()

    def _take(self, p: Project, side: str) -> None:
        """Of sources one side; of what is recorded the other: no merge is too odd to be right."""
        other = {"ours": "theirs", "theirs": "ours"}[side]
        for path in self._unmerged(p):
            recorded = path.startswith(("dvc.", "results/"))
            self._try(p, "git", "checkout", f"--{other if recorded else side}", "--", path)
        p.git("add", "--all")

    # ---- the end

    def end(self) -> None:
        """Everybody is right after a run; and a new clone brings back whatever was shared."""
        for name, project in self.people.items():
            self.log(f"--- {name} run, at the end")
            self.do_run(project)
            self.check(name)
        for n, (commit, files) in enumerate(self.pushed.items()):
            self.log(f"--- a new clone of {commit}")
            clone = self._project(f"clone{n}", self.bin)
            subprocess.run(
                ["git", "clone", "-q", self.folder / "hub.git", clone.folder], check=True
            )
            clone.git("checkout", "--quiet", commit)
            if files:
                self._must(clone, "coder-clip", "pull")
            if lost := sorted(
                path for path, data in files.items() if not self._is(clone, path, data)
            ):
                raise Wrong(
                    f"commit {commit} shared {', '.join(lost)}, which a pull does not bring"
                )
            self.people[clone.folder.name] = clone
            self.check(clone.folder.name)
            shutil.rmtree(clone.folder)
