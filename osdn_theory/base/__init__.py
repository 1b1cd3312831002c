"""What every room uses: arrays and their checks, threads, compiled loops, files, and JSON."""
