"""Packages are found: `kernels` is installed as `osdn_kernels`, which setup.cfg alone cannot find."""

from setuptools import find_packages, setup

KERNELS = ["osdn_kernels", *(f"osdn_kernels.{name}" for name in find_packages("kernels"))]

setup(packages=[*find_packages(include=["osdn_theory*", "proofs_check*"]), *KERNELS])
