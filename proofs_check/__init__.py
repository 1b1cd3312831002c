"""Every theorem T1 ... T29, checked by machine: see README.md, and run ``python -m proofs_check``."""
