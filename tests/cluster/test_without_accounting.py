"""A cluster without accounting, such as small ones are. The last test of the session, as it changes the cluster."""

import subprocess

from conftest import HERE, RUN, slurm

from verify_reproducibility import compare


def test_the_same_profile_serves_a_cluster_without_accounting(cluster, scene, undisturbed):
    subprocess.run([HERE / "stop_slurm.sh", cluster], check=True)
    subprocess.run([HERE / "start_slurm.sh", cluster, "--no-accounting"], check=True)
    assert "accounting_storage/none" in slurm("scontrol", "show", "config")
    controller = scene.trainer("without_accounting", stop_at=None).finish()
    assert sorted(path.suffix for path in (controller.folder / RUN).iterdir()) == [".csv", ".json", ".safetensors"]
    identical, *_ = compare(controller.folder / "results", undisturbed / "results")
    assert f"{RUN}/weights.safetensors".removeprefix("results/") in identical
