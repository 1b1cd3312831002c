"""How it is measured: timers, the machine, an end, and where a pass spends its time."""
