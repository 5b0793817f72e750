"""Print the `code` parameter of every job of a study, as JSON, however the project computes it.

Run by `acknowledge_refactoring.py`, once per checkout: `code_parameters.py SNAKEFILE CONFIGFILE FOLDER TARGET...`.
"""

import contextlib
import json
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings


def main(snakefile: str, configfile: str, folder: str, *targets: str) -> None:
    """Print `jobs`, [rule, model or "", code] of each, and `rules`, the names of all rules with such a parameter."""
    with (
        contextlib.redirect_stdout(sys.stderr),
        SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api,
    ):
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[Path(configfile)]),
            snakefile=Path(snakefile),
            workdir=Path(folder),
        )
        dag = workflow.dag(DAGSettings(targets=set(targets)))
        dag.printrulegraph()  # which makes the jobs
        made = workflow._workflow
        jobs = [
            [job.rule.name, job.wildcards_dict.get("model", ""), job.params.code]
            for job in made.dag.jobs
            if "code" in dict(job.params.items())
        ]
        rules = sorted(rule.name for rule in made.rules if "code" in dict(rule.params.items()))
    print(json.dumps({"jobs": sorted(jobs), "rules": rules}))


if __name__ == "__main__":
    main(*sys.argv[1:])
