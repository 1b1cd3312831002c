"""Every bound on every stream of the suite, condensed, and how tight the bounds are."""
