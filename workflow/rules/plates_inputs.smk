# Inputs and parameters of the rules of plates, by the wildcards of a rule, and all that their targets ask for.


def plates_folder(wildcards):
    """The folder of the results of all plates, their manifests, and records of failures."""
    return PLATES


def plates_settings(wildcards):
    """Digest of what decides how plates are processed."""
    return or_end_parsing(lambda: study.plates.digest)


def plate_channel(wildcards):
    """The channel that the nuclei of the rule's plate are seen in."""
    return or_end_parsing(study.plates.channel_of, wildcards.plate)


def plate_weights(wildcards):
    """Weights of the rule's plate. A name always means the same weights, so their age makes nothing stale."""
    return ancient(or_end_parsing(study.plates.weights_of, wildcards.plate))


def plate_part(wildcards):
    """Number of the rule's part of a plate, and how many parts there are."""
    return [int(wildcards.get("part", 0)), PARTS]


def plate_map(wildcards):
    """The file that says what is in the wells of the rule's plate, if there is one."""
    return or_end_parsing(study.plates.plate_map_of, wildcards.plate) or []


def plate_truth(wildcards):
    """Folder with the true labels of the rule's plate; empty where they are unknown."""
    return or_end_parsing(study.plates.truth_of, wildcards.plate)


def get_plates_output(wildcards):
    """The page of every plate that is complete, did not fail as it is, and is not excluded."""
    plates = or_end_parsing(study.plates.waiting)
    return [f"{PLATES}/{plate}/{or_end_parsing(study.plates.model_of, plate)}/report.html" for plate in plates]


def finished_plates(wildcards):
    """The plates that have their page, as plain values."""
    return [
        {
            "name": plate,
            "model": model,
            "plate": f"{PLATES}/{plate}/plate.ome.zarr",
            "folder": f"{PLATES}/{plate}/{model}",
            "plate_map": or_end_parsing(study.plates.plate_map_of, plate) or None,
            "project": or_end_parsing(study.plates.project_of, plate),
        }
        for plate, model in or_end_parsing(study.plates.finished)
    ]


def finished_tables(wildcards):
    """Counts and measurements of every finished plate, per field and per well."""
    return [f"{plate['folder']}/{name}.tsv" for plate in finished_plates(wildcards) for name in ("fields", "wells")]


def finished_plate_maps(wildcards):
    """The files that say what is in the wells of the finished plates."""
    return [plate["plate_map"] for plate in finished_plates(wildcards) if plate["plate_map"]]


def plate_failures(wildcards):
    """The records of plates that failed, and of jobs that stopped."""
    return sorted(str(path) for pattern in ("failed/*.json", "stopped/*/*.json") for path in Path(PLATES).glob(pattern))
