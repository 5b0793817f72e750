"""Export one trained network: model.pt2 (PyTorch program) and model.onnx."""

from equinuclei.export import export_model
from equinuclei.job import job

with job(snakemake.log[0]):
    export_model(snakemake.input.weights, program=snakemake.output.program, onnx_file=snakemake.output.onnx)
