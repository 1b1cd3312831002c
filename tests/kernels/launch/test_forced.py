"""Configurations that a device has no room for."""

from contextlib import contextmanager

import pytest
from osdn_kernels.launch import configurations, forced as module
from osdn_kernels.launch.forced import Launches, make_room
from triton.runtime.errors import OutOfResources


class Device:
    """Two kernels, of which the configurations of `wide` below `least` need too much."""

    def __init__(self, least: int):
        self.least = least
        self.choice = {}

    @contextmanager
    def forced(self, choice):
        launches = Launches()
        launches.candidates = {"narrow": [1], "wide": [0, 2, 3]}
        launches.update(narrow=None, wide=None)
        self.choice = {name: choice.get(name, fit[0]) for name, fit in launches.candidates.items()}
        yield launches

    def call(self):
        if self.choice["wide"] < self.least:
            raise OutOfResources(2, 1, "shared memory")
        return dict(self.choice)


def device(monkeypatch, least):
    made = Device(least)
    monkeypatch.setattr(module, "forced", made.forced)
    monkeypatch.setattr(configurations, "forced", made.forced)
    return made


@pytest.mark.parametrize(("least", "found"), [(0, 0), (1, 2), (3, 3)])
def test_the_first_that_fits_is_taken(least, found, monkeypatch):
    choice, candidates, result = make_room(device(monkeypatch, least).call)
    assert choice == result == {"narrow": 1, "wide": found}
    assert candidates["wide"] == [0, 2, 3]


def test_it_is_looked_for_from_what_is_asked_for_on(monkeypatch):
    assert make_room(device(monkeypatch, 0).call, {"wide": 2})[0]["wide"] == 2
    assert make_room(device(monkeypatch, 3).call, {"wide": 2})[0]["wide"] == 3


def test_none_that_fits_is_an_error(monkeypatch):
    with pytest.raises(RuntimeError, match="wide: no configuration fits"):
        make_room(device(monkeypatch, 4).call)


def test_another_error_is_none_of_room(monkeypatch):
    device(monkeypatch, 0)
    with pytest.raises(ZeroDivisionError):
        make_room(lambda: 1 / 0)


def test_every_configuration_begins_with_what_fits(monkeypatch):
    monkeypatch.setattr(configurations, "described", lambda name, index: str(index))
    found = dict(configurations.every_configuration(device(monkeypatch, 1).call))
    assert [result["wide"] for result in found.values()] == [2, 3]
