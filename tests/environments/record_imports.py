"""Record where the script of a Snakemake rule took its modules from: `sitecustomize` of the environments under test.

At its end the script leaves a JSON file in the folder $RECORD_IMPORTS: the rule, where its environment and the standard
library are, the file of every module that was loaded, and every import statement that was executed, as [file that it
stands in, file that it led to].
The statements count one by one because Snakemake appends its own environment to `sys.path`, and loads some of it before
the script begins: a module that is there already hides that the rule's environment lacks it.
"""

import atexit
import builtins
import json
import os
import sys
from pathlib import Path

executed = set()
real_import = builtins.__import__


def recording_import(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and globals:
        executed.add((globals.get("__file__"), name))
    return real_import(name, globals, locals, fromlist, level)


def file_of(name):
    return getattr(sys.modules.get(name), "__file__", None)


def write():
    mains = [sys.modules.get("__main__"), sys.modules.get("__mp_main__")]  # the latter in processes of a script
    rules = [main.snakemake.rule for main in mains if hasattr(main, "snakemake")]
    if rules:
        record = {
            "rule": rules[0],
            "prefix": sys.prefix,
            "standard_library": str(Path(os.__file__).parent),
            "modules": {name: file for name in list(sys.modules) if (file := file_of(name))},
            "imports": sorted([source, file] for source, name in executed if source and (file := file_of(name))),
        }
        path = Path(os.environ["RECORD_IMPORTS"], f"{rules[0]}-{os.getpid()}.json")
        path.write_text(json.dumps(record))


if "RECORD_IMPORTS" in os.environ:
    builtins.__import__ = recording_import
    atexit.register(write)
