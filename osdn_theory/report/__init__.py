"""The report folder: one static HTML page, its figures, and every number as JSON."""

from osdn_theory.report.exhibit import Exhibit as Exhibit
from osdn_theory.report.writer import write_report as write_report
