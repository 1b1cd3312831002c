"""Experiments with trained models: does online scaling of the write keys improve in-context recall?

`osdn-theory recall` runs them. Needs torch; the Triton kernels are used where they can be launched.
"""
