"""`equinuclei promote`: a trained model of a study to a named, immutable one for plates."""

import argparse
from pathlib import Path

from equinuclei.library.names import LAB_MODELS

DESCRIPTION = """\
Copy a trained model of a study to your own named models, where plates find it. A name always means the same weights: it
cannot be given twice.
"""

EPILOG = "example: equinuclei promote results/demo/models/simplified-p4/fluorescence/seed0 simplified-p4-dapi-v1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("run", type=Path, help="folder of one training, with weights.safetensors and run.json")
    parser.add_argument("name", help="name of the model, with a version in it")
    parser.add_argument(
        "--library", type=Path, default=LAB_MODELS, help="folder of your own models (default: %(default)s)"
    )
    parser.add_argument("--notes", default="", help="what a user should know, for the model's card")


def run(arguments: argparse.Namespace) -> int:
    """Copy the weights, their record and a card. Returns the exit status."""
    from equinuclei.library.promotion import promote_model

    folder = promote_model(arguments.run, arguments.name, arguments.library, notes=arguments.notes)
    print(f"{folder}: choose it as `model: {arguments.name}` for plates")
    return 0
