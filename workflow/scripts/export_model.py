"""Export one trained network: model.pt2 (PyTorch program), model.onnx, bioimage_model.zip (BioImage Model Zoo)."""

from equinuclei.library.bioimage_zoo import write_package
from equinuclei.library.export import export_model
from equinuclei.runtime.job import job

with job(snakemake.log[0]):
    onnx_file = snakemake.output.onnx
    metadata = export_model(snakemake.input.weights, program=snakemake.output.program, onnx_file=onnx_file)
    write_package(
        snakemake.output.package,
        onnx_file=onnx_file,
        model=snakemake.wildcards.model,
        modality=snakemake.wildcards.modality,
        metadata=metadata,
        about=snakemake.params.about,
    )
