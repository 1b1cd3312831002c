"""Hold a theorem's statement, as Coq prints it, against the law of its name, on the law's instances.

Every premise and the conclusion must have the law's form, and the law's value on either side of every comparison: a
looser bound, another constant, a premise more or less, a definition that changed are all differences, true or not.
"""

from collections.abc import Callable
from typing import Any

import flint
import numpy as np

from proofs_check.exact.draw import Instance
from proofs_check.exact.law import Law, broken, instances
from proofs_check.exact.numbers import BITS, Items
from proofs_check.exact.propositions import difference
from proofs_check.gallina.evaluate import Definitions, Evaluator
from proofs_check.gallina.parse import Term, parse_type

COUNT = 18
"""Instances for each theorem: three of every kind."""


def untied(law: Law, statement: str, definitions: Definitions, count: int = COUNT) -> str:
    """How a statement, as Coq's Check answers with nothing left implicit, differs from a law; "" if it does not."""
    term = parse_type(statement)
    with flint.ctx.workprec(BITS):
        found = (_untied_on(x, law, term, definitions) for x in instances(law, law.name, count))
        return next(filter(None, found), "")


def _untied_on(x: Instance, law: Law, term: Term, definitions: Definitions) -> str:
    domains = {
        name: [as_coq(value) for value in values] for name, values in getattr(x, "domains", {}).items()
    }
    found = Evaluator(definitions, domains).statement(term, _bound(x))
    said = law.says(x)
    if text := difference(found, said):
        return f"Coq's statement is not the law: {text}"
    text = broken(said)
    return f"the law: {text}" if text else ""


def _bound(x: Instance) -> dict[Any, Any]:
    """The variables of a theorem with an instance's values; what it hides is for Python alone."""
    hidden = getattr(x, "hidden", ())
    own = {name: as_coq(value) for name, value in vars(x).items() if name not in hidden}
    return {"R": "number"} | {name.replace("_prime", "'").removesuffix("_"): own[name] for name in own}


def as_coq(value: Any) -> Any:
    """A value of an instance as Coq has it: a vector is a row, a list over the tokens a function of the token."""
    if isinstance(value, np.ndarray):
        return np.atleast_2d(value)
    if isinstance(value, Items):
        return [as_coq(item) for item in value]
    if type(value) is list:
        return _over_tokens([as_coq(item) for item in value])
    return value


def _over_tokens(values: list[Any]) -> Callable[[int], Any]:
    # Beyond the last token its values come again: theorems about streams without an end are tried on the first tokens.
    return lambda t: values[t % len(values)]
