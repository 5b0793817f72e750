"""Look which plates of the inbox are complete: scan.tsv, and a manifest per complete plate."""

from equinuclei.inbox import READY, scan_inbox
from equinuclei.job import job, logger
from equinuclei.sources.plates import contents_of_plate

with job(snakemake.log[0]):
    plates = scan_inbox(
        snakemake.params.inbox,
        snakemake.params.results,
        contents_of_plate,
        quiet_minutes=snakemake.params.quiet_minutes,
        output=snakemake.output.scan,
    )
    for plate in plates:
        if plate.status != READY:
            logger.info("%s: %s: %s", plate.plate, plate.status, plate.why)
