"""labfleet: runs OMNeT++ simulation campaigns on the machines of a lab.

In a checkout this file lies beside tasks.py and runner/; in an installed wheel it is ``labfleet/__init__.py``, and
they are in the same folder too.  So either way the modules of labfleet are found where this file is.
"""

import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the program ``labfleet``."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # there is nobody yet who could tell of it in a sentence
    from runner import commands

    signal.signal(signal.SIGINT, handler)
    commands.main()


if __name__ == "__main__":
    main()
