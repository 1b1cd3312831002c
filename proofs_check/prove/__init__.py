"""The run of all proofs: what there is, how it is run, and what is printed."""
