"""An experiment as a command: flags from its `main`, errors as one line."""

from __future__ import annotations

import sys
from collections.abc import Callable

import tyro

from scratchconv.errors import ScratchconvError
from scratchconv.training import Stopped


def run_command(main: Callable[..., None]) -> None:
    """Call `main` with the flags given; exit status 1 for an error, 130 after Ctrl-C."""
    try:
        tyro.cli(main)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        raise SystemExit(130) from None
    except (ScratchconvError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
