"""Convert a plate to OME-Zarr: plate.ome.zarr, fields.parquet."""

from equinuclei.inbox import quarantine
from equinuclei.job import job
from equinuclei.plates import convert_plate
from equinuclei.provenance import read_record

with job(snakemake.log[0]), quarantine(snakemake.params.results, snakemake.wildcards.plate):
    manifest = read_record(snakemake.input.manifest)
    convert_plate(
        {"path": manifest["folder"], "layout": manifest["layout"], "z": snakemake.params.z},
        output=snakemake.output.plate,
        fields=snakemake.output.fields,
        workers=snakemake.threads,
        max_bad_fraction=snakemake.params.max_bad_fraction,
        ngff_version=snakemake.params.ngff_version,
    )
