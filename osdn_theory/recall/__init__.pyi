from .measures import (
    measure_run as measure_run,
)
from .summary import (
    summarise as summarise,
    write_summary as write_summary,
)
