"""Count the floating-point operations of a computation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode


def operations(run: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in `run`, as torch counts them."""
    from torch.utils.flop_counter import flop_registry  # Loads Triton, which who only uses encoders need not.

    # torch does not count fused attention.
    with sdpa_kernel(SDPBackend.MATH), _Counter(flop_registry) as counter:
        run()
    return counter.total


class _Counter(TorchDispatchMode):
    """torch's `FlopCounterMode` without torch's compiler, which costs 3 s of CPU in each process."""

    def __init__(self, formulas: Mapping[Any, Callable[..., int]]) -> None:
        super().__init__()
        self.total, self._formulas = 0, formulas

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        counted = self._formulas.get(func.overloadpacket)
        if counted is None:
            with self:  # Its parts may be counted.
                made = func.decompose(*args, **named)
            if made is not NotImplemented:
                return made
        out = func(*args, **named)
        if counted is not None:
            self.total += counted(*args, **named, out_val=out)
        return out
