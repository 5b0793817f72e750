"""`equinuclei COMMAND ...`: parse the command line, run one subcommand, and show a user's mistake as one message."""

import argparse
import importlib
import io
import sys

from equinuclei import __version__
from equinuclei.runtime.job import message_of
from equinuclei.runtime.printable import printable

COMMANDS = {
    "segment": "find and measure the nuclei of a folder of images",
    "plate": "say what is read of a microscope's folder, without converting it",
    "promote": "turn a trained model of a study into a named model for plates",
    "check": "compare the results of a data set with the record of what made them",
    "simulate-plate": "write a plate as a microscope does, with its truth, to try things on",
}


def main(words: list[str] | None = None) -> int:
    """Run the command line `words` (default: that of the process). Returns the exit status.

    0: done; 1: it could not be done, or not all of it, and a message says why; 2: the command line is wrong.
    """
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(
        prog="equinuclei", description="Segment cell nuclei with rotation-equivariant networks."
    )
    parser.add_argument("--version", action="version", version=f"equinuclei {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=purpose, formatter_class=argparse.RawDescriptionHelpFormatter)
        if words[:1] == [name]:
            command = importlib.import_module(f"equinuclei.cli.{name.replace('-', '_')}")
            subparser.description, subparser.epilog = command.DESCRIPTION, command.EPILOG
            command.add_arguments(subparser)
    arguments = parser.parse_args(words)
    if isinstance(sys.stderr, io.TextIOWrapper):  # a file name need not be text that the terminal can show
        sys.stderr.reconfigure(errors="backslashreplace")
    try:
        return command.run(arguments)
    except Exception as error:
        message = message_of(error)
        if message is None:
            raise
        print(f"Error: {printable(message)}", file=sys.stderr)
        return 1
