"""The claims made for OSDN, and which evidence of this project bears on each: texts only, no verdict."""

from dataclasses import dataclass

import msgspec

from osdn_theory.base.tables import read_table


@dataclass(frozen=True)
class PaperClaim:
    """A claim of the paper.

    - `theorems`: Ids of the theorems that bear on it; empty where nothing here does.
    - `streams`: The streams on which they must be seen to hold; empty: any.
    - `kernel`: Whether it is also about what a kernel computes: then its errors are held to the rounding bound of T18.
    - `measures`: What the in-context recall experiment measures that bears on it, at a far smaller scale; empty:
      nothing.
    """

    id: str
    claim: str
    tested: str
    left_out: str
    theorems: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    kernel: bool = False
    measures: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublishedTable:
    """A table of somebody else's measurements; every cell is as published.

    - `rows`: As many cells as the header.
    """

    title: str
    source: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


_TABLE = read_table(__file__)

PAPER_CLAIMS = tuple(
    msgspec.convert({"id": name, **row}, PaperClaim) for name, row in _TABLE["claims"].items()
)
PUBLISHED_TABLES = msgspec.convert(_TABLE["published"], tuple[PublishedTable, ...])
