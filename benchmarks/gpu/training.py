"""Checks of trainings: they learn, give the same bytes twice, and go on after an interruption."""

import os
import signal
import time

from benchmarks.gpu.samples import CheckError, checksum, scratch


def learning(device: str, precision: str) -> str:
    """A network of seconds learns discs."""
    import pandas as pd

    from support.training import changed, train

    with scratch() as folder:
        start = time.monotonic()
        files = train(folder, changed(device=device, precision=precision, epochs=40))
        seconds = time.monotonic() - start
        last = pd.read_csv(files["history"]).iloc[-1]
    result = f"F1 {last['train_F1']:.3f}, loss {last['train_loss']:.4f} after 120 steps ({120 / seconds:.0f} steps/s)"
    if not last["train_F1"] > 0.9:
        raise CheckError(result)
    return result


def same_bytes_twice(device: str) -> str:
    """Every architecture, trained twice: a step without a deterministic algorithm raises an error."""
    from equinuclei.specs import ARCHITECTURES, ModelSpec
    from support.training import changed, train

    different, count = [], 0
    for architecture in ARCHITECTURES:
        for precision in ("float32", "bfloat16"):
            spec = ModelSpec(architecture, "p4m", (2, 4, 4))
            settings = changed(device=device, precision=precision, epochs=2, zoom=1.5, photometric=True)
            with scratch() as folder:
                pair = [train(folder / name, settings, spec=spec) for name in ("a", "b")]
                count += 1
                if any(checksum(pair[0][file]) != checksum(pair[1][file]) for file in ("weights", "history")):
                    different.append(f"{architecture} in {precision}")
    if different:
        raise CheckError(f"other bytes: {', '.join(different)}")
    return f"{count} of {count} trainings give the same weights twice"


def resuming(device: str, precision: str) -> str:
    """A training that is told to end, between two epochs and within one, and goes on."""
    from equinuclei.errors import StoppedError
    from equinuclei.training.train import SegmentationTask
    from support.training import changed, part, train

    settings, followed = changed(device=device, precision=precision), part(4, seed=1)
    training_step = SegmentationTask.training_step
    with scratch() as folder:
        undisturbed = train(folder / "whole", settings, validation=followed)
        for stop in (5, 6):  # of 12 steps, three to an epoch

            def stopping_step(task, batch, index, stop=stop):
                if task.global_step == stop - 1:
                    os.kill(os.getpid(), signal.SIGUSR1)
                return training_step(task, batch, index)

            SegmentationTask.training_step = stopping_step
            try:
                train(folder / str(stop), settings, validation=followed)
                raise CheckError(f"the training did not stop after step {stop}")
            except StoppedError:
                SegmentationTask.training_step = training_step
            resumed = train(folder / str(stop), settings, validation=followed)
            for file in ("weights", "history"):
                if checksum(resumed[file]) != checksum(undisturbed[file]):
                    raise CheckError(f"stopped after step {stop} of 12: {file} has other bytes")
    return "stopped after steps 5 and 6 of 12: the bytes of an undisturbed run"
