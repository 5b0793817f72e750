"""Convert a plate to OME-Zarr: plate.ome.zarr, fields.parquet."""

from equinuclei.plates.convert import convert_plate
from equinuclei.plates.inbox import quarantine
from equinuclei.runtime.job import job
from equinuclei.runtime.provenance import read_record

parameters = snakemake.params
with job(snakemake.log[0]), quarantine(parameters.results, snakemake.wildcards.plate, parameters.settings):
    manifest = read_record(snakemake.input.manifest)
    convert_plate(
        {
            "path": manifest["folder"],
            "layout": manifest["layout"],
            "channels": parameters.channels,
            "z": parameters.z,
        },
        output=snakemake.output.plate,
        fields=snakemake.output.fields,
        workers=snakemake.threads,
        max_bad_fraction=parameters.max_bad_fraction,
        ngff_version=parameters.ngff_version,
        flat_field=parameters.flat_field,
    )
