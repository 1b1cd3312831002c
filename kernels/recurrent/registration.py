"""The token-by-token operator as PyTorch sees it."""

from collections.abc import Sequence

from torch import Tensor

from ..launch.recurrence import Cotangents, Gradients, Inputs, RecurrenceOperator
from .backward import RecurrentSaved, recurrent_backward
from .forward import RecurrentOptions, RecurrentOutputs, allocate, recurrent_forward


class RecurrentOperator(RecurrenceOperator[RecurrentOptions, RecurrentOutputs]):
    """Registered as osdn::recurrent_forward and osdn::recurrent_backward."""

    name = "recurrent"
    options, outputs, saved = RecurrentOptions, RecurrentOutputs, len(RecurrentSaved._fields)

    def allocate(self, inputs: Inputs, options: RecurrentOptions) -> RecurrentOutputs:
        return allocate(inputs, options)

    def count_flops(self, inputs: Inputs, options: RecurrentOptions) -> tuple[int, int]:
        states = inputs.v.numel() * inputs.k.shape[-1]
        return 6 * states, 14 * states

    def run(self, inputs: Inputs, options: RecurrentOptions) -> RecurrentOutputs:
        return recurrent_forward(inputs, options)

    def differentiate(
        self, inputs: Inputs, options: RecurrentOptions, saved: Sequence[Tensor], grads: Cotangents
    ) -> Gradients:
        # Where a call is traced, exported or batched, whether it learns is known too late.
        kept = RecurrentSaved(*saved)
        if not options.save:
            found = recurrent_forward(inputs, options._replace(save=True))
            kept = RecurrentSaved(*(getattr(found, name) for name in kept._fields))
        return recurrent_backward(inputs, options, kept, grads)


recurrent = RecurrentOperator()
