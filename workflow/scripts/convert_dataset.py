"""Write the images and masks of a data set as OME-Zarr stacks: images.zarr, annotations.zarr, fields.tsv."""

from equinuclei.dataset.convert import convert_dataset
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    convert_dataset(
        snakemake.params.source,
        images=snakemake.output.images,
        annotations=snakemake.output.annotations,
        fields=snakemake.output.fields,
        workers=snakemake.threads,
        pixel_size=snakemake.params.pixel_size,
        record=snakemake.output.record,
        state=snakemake.params.source_state,
        code=snakemake.params.code,
    )
