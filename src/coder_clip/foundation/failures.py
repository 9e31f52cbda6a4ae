"""What people see of an error: one line."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UserError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """For bad input or a failed write, print one line and exit with status 1.

    The line is on standard error.
    """
    logging.basicConfig(
        level=logging.WARNING, format="coder-clip: %(levelname)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("coder_clip").setLevel(logging.INFO)
    try:
        yield
    except UserError as error:
        # one line, whatever line breaks the message holds
        line = " ".join(part.strip() for part in str(error).splitlines())
        print(f"coder-clip: error: {line}", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        from .installed import extra_advice  # seldom needed: a job imports little

        advice = extra_advice(error.name)
        if not advice:
            raise
        print(f"coder-clip: error: {advice}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        # only what the user can repair is a message; any other error keeps its traceback
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        advice = "check its permissions"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "make room"
        print(
            f"coder-clip: error: {error.filename or 'a file'}: {error.strerror}; {advice}",
            file=sys.stderr,
        )
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # how typer ends after Control-C
            print("coder-clip: stopped", file=sys.stderr)
        raise
