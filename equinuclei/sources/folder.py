"""Layout "folder": a folder of images and a folder of masks whose file names match."""

import mimetypes
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from equinuclei.errors import InputError, raise_problems
from equinuclei.sources.checks import COLUMNS, missing_path
from equinuclei.sources.images import SUFFIXES
from equinuclei.sources.table import read_rows


def read_folder(source: Mapping) -> pd.DataFrame:
    """Read a source of layout "folder" (see `equinuclei.sources.read_source`)."""
    folder = Path(source["path"]).absolute()
    if not source.get("modality"):
        raise InputError(f"{folder}: a source of layout 'folder' needs 'modality', such as fluorescence")
    if not folder.is_dir():
        raise InputError(missing_path(folder, "folder"))
    problems: list[str] = []
    images = _files_by_stem(folder / "images", problems)
    masks = _files_by_stem(folder / source.get("masks", "masks"), problems)
    problems += [f"image {path.name!r} has no mask" for stem, path in images.items() if stem not in masks]
    problems += [f"mask {path.name!r} has no image" for stem, path in masks.items() if stem not in images]
    table = pd.DataFrame({"image_id": list(images), "modality": source["modality"]})
    listed = folder / "split.csv"
    if listed.is_file():
        rows = read_rows(listed, required=["name"], optional=["cell_line", "group", "split"])
        problems += [
            f"split.csv names {name!r} more than once" for name in rows.loc[rows["name"].duplicated(), "name"].unique()
        ]
        problems += [f"split.csv names {name!r}, which has no image" for name in rows["name"] if name not in images]
        named = set(rows["name"])
        problems += [
            f"image {path.name!r} has no row in split.csv" for stem, path in images.items() if stem not in named
        ]
        raise_problems(str(folder), problems)
        table = table.merge(rows.rename(columns={"name": "image_id"}), on="image_id", validate="one_to_one")
    raise_problems(str(folder), problems)
    table["image"] = [str(images[stem]) for stem in table["image_id"]]
    table["mask"] = [str(masks[stem]) for stem in table["image_id"]]
    return table.reindex(columns=COLUMNS, fill_value="")


def _files_by_stem(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Image files of a folder by their stems. Problems are appended to `problems`."""
    if not folder.is_dir():
        raise InputError(missing_path(folder, "folder"))
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        if path.suffix.lower() not in SUFFIXES:
            if (mimetypes.guess_type(path.name)[0] or "").startswith("image/"):
                problems.append(f"{path.parent.name}/{path.name} is neither TIFF nor PNG: convert or remove it")
        elif path.stem in files:
            problems.append(
                f"{files[path.stem].name!r} and {path.name!r} in {folder.name}/ have the same stem: keep one"
            )
        else:
            files[path.stem] = path
    return files
