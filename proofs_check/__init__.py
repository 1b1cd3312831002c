"""Every theorem T1 ... T19, checked by machine: see README.md, and run ``python -m proofs_check``."""
