"""Every theorem T1 ... T19 and T29, checked by machine: see README.md, and run ``python -m proofs_check``."""
