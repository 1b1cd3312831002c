"""What trained language models measured: every seed's every value, compared with DeltaNet seed by seed."""
