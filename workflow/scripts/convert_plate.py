"""Convert a plate to OME-Zarr: plate.ome.zarr, fields.parquet, planes.parquet."""

from equinuclei.plates.convert import convert_plate
from equinuclei.plates.inbox import quarantine, read_manifest
from equinuclei.plates.plate_export import PlateExport
from equinuclei.plates.stops import telling_stops
from equinuclei.runtime.job import job
from equinuclei.sources.plates import layout_of_manifest

parameters = snakemake.params
plate = snakemake.wildcards.plate
with job(snakemake.log[0]), telling_stops(parameters.results, plate, "convert_plate"):
    manifest = read_manifest(snakemake.input.manifest)
    layout = layout_of_manifest(manifest["layout"], parameters.layout)
    with quarantine(parameters.results, plate, parameters.settings):
        convert_plate(
            PlateExport(
                manifest["folder"],
                layout,
                parameters.channels,
                parameters.z,
                parameters.t,
                parameters.acquisition,
                content=manifest["content"],
                absent=manifest.get("absent"),
            ),
            output=snakemake.output.plate,
            fields=snakemake.output.fields,
            ledger=snakemake.output.ledger,
            workers=snakemake.threads,
            max_bad_fraction=parameters.max_bad_fraction,
            ngff_version=parameters.ngff_version,
            flat_field=parameters.flat_field,
        )
