"""Print the `code` parameter of every job of a study, as JSON, however the project computes it.

Run by `acknowledge_refactoring.py`, once per checkout: `code_parameters.py SNAKEFILE CONFIGFILE FOLDER TARGET...`.
"""

import contextlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings


def recorded(entries: Iterable[Mapping]) -> list[list[str]]:
    """What provenance.json tells of rules without a network: one that runs networks is there without them, too.

    Earlier code named a script and the files of a network in place of rule and architecture.
    """
    return [
        [entry.get("rule") or Path(entry["script"]).stem, "", entry["digest"]]
        for entry in entries
        if not (entry.get("architecture") or entry.get("extra"))
    ]


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
        for job in made.dag.jobs:
            jobs += recorded(dict(job.params.items()).get("rules", []))
        rules = sorted(rule.name for rule in made.rules if "code" in dict(rule.params.items()))
    print(json.dumps({"jobs": sorted(jobs), "rules": rules}))


if __name__ == "__main__":
    main(*sys.argv[1:])
