"""What record and adopt tell a person, a line each."""

from __future__ import annotations

from .adopt import Adopted
from .record import Outcome

SHARE = "git add dvc.yaml dvc.lock provenance results && git commit && coder-clip push && git push"


def recorded(outcome: Outcome) -> list[str]:
    lines = list(outcome.notes)
    refused = {name: why for name, why in outcome.refused.items() if name not in outcome.ahead}
    lines += [f"phase {name} is not recorded: {why}" for name, why in refused.items()]
    if outcome.ahead:
        lines.append(f"not made yet, so not recorded: {', '.join(outcome.ahead)}")
    if outcome.changed:
        lines.append(f"recorded in DVC: {', '.join(outcome.changed)}; to share: {SHARE}")
    elif outcome.recorded and not outcome.refused:
        lines.append("everything is recorded in DVC")
    return lines


def adopted(outcome: Adopted) -> list[str]:
    lines = list(outcome.notes)
    if outcome.known:
        lines.append(f"{len(outcome.known)} files are as recorded in DVC and need not be made again")
    if outcome.changed:
        lines.append(
            f"{_some(outcome.changed)} will be made again: something they were made from has changed"
        )
    if outcome.foreign:
        lines.append(f"{_some(outcome.foreign)} will be made again: neither made here nor as recorded in DVC")
    return lines


def _some(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
