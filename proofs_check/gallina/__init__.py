"""Coq's statements evaluated: terms as Coq prints them with nothing left implicit, on rational instances."""
