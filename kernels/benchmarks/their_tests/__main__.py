from .command import app

app(prog_name="python -m osdn_kernels.benchmarks.their_tests")
