"""Look which plates of the inbox are complete: scan.tsv, and a manifest per complete plate."""

from functools import partial

from equinuclei.config.plates import Plates
from equinuclei.errors import InputError
from equinuclei.library.names import find_weights
from equinuclei.plates.inbox import ScanSettings, scan_inbox
from equinuclei.plates.scan_table import NO_MODEL, READY
from equinuclei.plates.suitability import find_problem, not_to_be_converted
from equinuclei.plates.tick import require_results
from equinuclei.runtime.job import job, logger
from equinuclei.sources.plates import contents_of_plate

plates = Plates(snakemake.params.section)
section = plates.section


def problem_of(plate, contents):
    """Status and reason of a plate that the settings do not suit."""
    try:
        plates.weights_of(plate)
    except InputError as error:
        return NO_MODEL, str(error)
    return find_problem(
        contents, plates.channel_of(plate), section["channels"], section["acquisition"], plates.plate_map_of(plate)
    )


with job(snakemake.log[0]):
    if section["inbox"] is None:
        raise InputError("no inbox: set `plates: {inbox: FOLDER}` to the folder where plates arrive")
    require_results(plates.results, snakemake.output.scan)
    find_weights(section["model"], section["models"])  # now, not when the first plate has been converted
    scanned = scan_inbox(
        section["inbox"],
        plates.results,
        partial(contents_of_plate, layout=section["layout"]),
        ScanSettings(
            quiet_minutes=section["quiet_minutes"],
            digest=plates.digest,
            absent_hours=section["absent_hours"],
            max_bad_fraction=section["max_bad_fraction"],
            named=plates.named,
            excluded=plates.excluded,
            find_problem=problem_of,
            left_out=lambda contents: not_to_be_converted(
                contents, section["channels"], section["t"], section["acquisition"]
            ),
        ),
        snakemake.output.scan,
    )
    for plate in scanned:
        if plate.status != READY or plate.why:
            logger.info("%s: %s: %s", plate.plate, plate.status, plate.why)
