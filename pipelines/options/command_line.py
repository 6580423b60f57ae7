"""How every command ends: an exit code, and an error as one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.options import beam_interface
from transforms.errors import RunError, UserError, one_line

if TYPE_CHECKING:
    pass

TRACEBACK = "TWINBEAM_TRACEBACK"
INTERRUPTED = 130  # what a shell reports of a command that Ctrl-C ended


def run_main(run: Callable[[], object]) -> int:
    """Runs a command and turns its errors into one line and an exit code.

    The runner's own logs of a failure are left out (see `quiet_runner`); the environment variable
    TWINBEAM_TRACEBACK=1 brings them back, and the traceback (docs/troubleshooting.md).

    Returns:
        0 done, 2 wrong use or unusable input, 1 failed, 130 stopped by Ctrl-C.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's own notes do not help here
    verbose = bool(os.environ.get(TRACEBACK))
    if not verbose:
        beam_interface.quiet_runner()
    try:
        run()
        return 0
    except UserError as error:
        return _print_error(error, 2)
    except RunError as error:
        return _print_error(error, 1)
    except KeyboardInterrupt:
        return _print_error("stopped; the same command again resumes", INTERRUPTED)
    except BrokenPipeError:  # of `twinbeam … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        reported = beam_interface.worker_error(error)
        if reported:
            return _print_error(*reported)
        if verbose:
            raise
        return _print_error(beam_interface.unforeseen(error), 1)


def _print_error(error: object, code: int) -> int:
    line = one_line(error).split(" [while running ")[0]
    print(f"twinbeam: {line}", file=sys.stderr)
    return code
