"""Lightning without its remarks, and with Ctrl-C as an exception of its own."""

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lightning_quiet() -> Iterator[None]:
    """Without Lightning's remarks on the machine, and with Ctrl-C as an exception of its own.

    Lightning turns a Ctrl-C into an exit with code 1 and leaves the signal ignored from then on.
    """
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 flattens with a class that torch 2.13 deprecates.
            warnings.filterwarnings("ignore", message=r".*LeafSpec.*", category=FutureWarning)
            # Where to compute is said by the caller.
            warnings.filterwarnings("ignore", message=r"(?s)GPU available but not used.*")
            yield
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    finally:
        logger.setLevel(level)
