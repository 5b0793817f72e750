"""The frame around the work of one rule: its log, and how errors reach a person."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from equinuclei.errors import InputError

logger = logging.getLogger("equinuclei")


@contextmanager
def job(log: str | Path) -> Iterator[None]:
    """Write the log records and warnings of the block to the file `log`, and progress also to the terminal.

    An InputError becomes one message there and exit status 1, without a traceback: it is the user's to mend. Any
    other exception is logged with its traceback and raised.
    """
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(log, mode="w", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.addFilter(logging.Filter("equinuclei"))
    to_terminal.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    handlers = (to_file, to_terminal)
    for handler in handlers:
        root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            logging.captureWarnings(True)
            warnings.simplefilter("default")
            yield
    except InputError as error:
        logger.error("Error: %s", error)
        sys.exit(1)
    except Exception:
        logging.getLogger("traceback").exception("the job failed")
        raise
    finally:
        logging.captureWarnings(False)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
