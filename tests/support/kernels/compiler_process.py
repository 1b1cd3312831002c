"""Python processes without the interpreter of Triton that these tests turn on."""

import os
import subprocess
import sys


def outside_of_the_interpreter(script, *arguments):
    """What `script` prints, run with these arguments; an assertion with its errors if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
