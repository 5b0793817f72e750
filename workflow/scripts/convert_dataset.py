"""Write the images and masks of a data set as OME-Zarr stacks: images.zarr, annotations.zarr, fields.tsv."""

from equinuclei.dataset.convert import ConvertedFiles, convert_dataset
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    convert_dataset(
        snakemake.params.source,
        ConvertedFiles(
            snakemake.output.images, snakemake.output.annotations, snakemake.output.fields, snakemake.output.record
        ),
        workers=snakemake.threads,
        pixel_size=snakemake.params.pixel_size,
        state=snakemake.params.source_state,
        code=snakemake.params.code,
    )
