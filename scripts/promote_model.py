"""Turn a trained model of a study into a named, immutable one for plates: see `--help`."""

import argparse
import sys
from pathlib import Path

from equinuclei.errors import InputError
from equinuclei.promotion import promote_model

LIBRARY = Path(__file__).resolve().parents[1] / "resources" / "models"


def main() -> int:
    """Copy the weights, their record and a card into the library."""
    parser = argparse.ArgumentParser(
        prog="promote_model.py",
        description="Copy a trained model of a study into the library of models, where plates find it by its name. "
        "A name always means the same weights: it cannot be given twice.",
        epilog="example: promote_model.py results/demo/models/simplified-p4/fluorescence/seed0 simplified-p4-dapi-v1",
    )
    parser.add_argument("run", type=Path, help="folder of one training, with weights.safetensors and run.json")
    parser.add_argument("name", help="name of the model, with a version in it")
    parser.add_argument("--library", type=Path, default=LIBRARY, help="folder of models (default: resources/models)")
    parser.add_argument("--notes", default="", help="what a user should know, for the model's card")
    arguments = parser.parse_args()
    try:
        folder = promote_model(arguments.run, arguments.name, arguments.library, notes=arguments.notes)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: choose it as `model: {arguments.name}` for plates")
    return 0


if __name__ == "__main__":
    sys.exit(main())
