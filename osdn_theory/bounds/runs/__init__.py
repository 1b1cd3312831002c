"""The trajectories that bounds speak of, exact or enclosed."""
