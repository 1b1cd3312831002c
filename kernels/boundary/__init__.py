"""The boundary of the operators: inputs, values, the rule and results; the only place that validates."""
