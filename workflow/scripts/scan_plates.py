"""Look which plates of the inbox are complete: scan.tsv, and a manifest per complete plate."""

from functools import partial

from equinuclei.errors import InputError
from equinuclei.library.names import find_weights
from equinuclei.plates.inbox import READY, scan_inbox
from equinuclei.runtime.job import job, logger
from equinuclei.sources.plates import contents_of_plate

with job(snakemake.log[0]):
    if snakemake.params.inbox is None:
        raise InputError("no inbox: set `plates: {inbox: FOLDER}` to the folder where plates arrive")
    find_weights(snakemake.params.model, snakemake.params.models)  # now, not when the first plate has been converted
    plates = scan_inbox(
        snakemake.params.inbox,
        snakemake.params.results,
        partial(contents_of_plate, layout=snakemake.params.layout),
        quiet_minutes=snakemake.params.quiet_minutes,
        settings=snakemake.params.settings,
        output=snakemake.output.scan,
    )
    for plate in plates:
        if plate.status != READY:
            logger.info("%s: %s: %s", plate.plate, plate.status, plate.why)
