"""How near a compiled model's answers must lie to those of the bundle it was compiled from, asked with the bundle's probe.

Asked when a bundle is compiled, and again each time its artifact is opened: a driver, a GPU or a library that was exchanged
since may compute other numbers without an error. Needs NumPy alone, for Triton's own environment.

Shape suffixes: B = windows of the probe, T = tokens of a window, C = channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.engine import INPUTS, OUTPUT, Engine, EngineError

MAX_RMS_ERROR = {"fp32": 1e-4, "fp16": 4e-3, "bf16": 3e-2, "int8": 2e-1}
"""Root mean square of the differences allowed, in standard deviations of the bundle's logits."""
MAX_ERROR = {"fp32": 1e-3, "fp16": 6e-2, "bf16": 5e-1, "int8": 1.5}
"""Largest single difference allowed, in the same unit.

T5 encoders of 2 to 12 layers, trained and random, differ from torch by at most 6e-6 in float32. In bfloat16 their root mean
square is 4e-3 to 1.5e-2 and their largest difference 2e-2 to 1.9e-1: it grows with the number of logits, so it only guards
against gross errors, and the mean square decides. None of 6741 decisions on gold notes changed with it. Float16 has three bits
more, and about an eighth is allowed; graphs lowered to it, of 4 and 12 layers and random, emulated on a CPU: mean square 9e-4
to 1.4e-3, largest difference 3e-3 to 5e-3. In 8-bit integers a trained encoder of 4 layers has a mean square of 7.6e-2 on the
random ids of a probe and 1.7e-2 on the sentences of notes, its largest difference is 0.45.
"""
MIN_SIGN_AGREEMENT = 0.99
NEAR_ZERO = 1e-2
"""Logits nearer to zero than this, in standard deviations, may have either sign: rounding decides it."""


class ParityError(EngineError):
    """The compiled model does not answer like the bundle it was compiled from."""


@dataclass(frozen=True)
class Parity:
    """How far a compiled model's answers lie from the bundle's."""

    max_error: float
    """Largest |difference|, in standard deviations of the bundle's logits."""
    rms_error: float
    """Root mean square of the differences, in the same unit."""
    sign_agreement: float
    """Share of logits with the same sign, among those away from zero."""


def check(engine: Engine, probe: Mapping[str, NDArray[Any]], precision: str, what: str) -> Parity:
    """Ask `engine` the inputs of `probe`, and compare its answer with the probe's.

    Args:
        engine: the compiled model, open.
        probe: inputs and outputs by name, as `ModelBundle.probe` gives them.
        precision: what the engine computes in; decides how far its answers may lie from float32.
        what: names the model in the error.
    Raises:
        ParityError: the answers differ by more than the precision explains.
        EngineError: the engine did not answer.
    """
    outputs = engine.run({name: probe[name] for name in INPUTS})
    try:
        parity = compare(probe[OUTPUT], outputs[OUTPUT], probe["attention_mask"])
    except ParityError as error:
        raise ParityError(f"{what}: {error}") from error
    max_rms, max_error = MAX_RMS_ERROR[precision], MAX_ERROR[precision]
    if parity.rms_error > max_rms or parity.max_error > max_error or parity.sign_agreement < MIN_SIGN_AGREEMENT:
        raise ParityError(
            f"{what}: logits differ by {parity.rms_error:.2g} standard deviations on average (allowed {max_rms:g}) and up to "
            f"{parity.max_error:.2g} (allowed {max_error:g}), and {parity.sign_agreement:.1%} keep their sign "
            f"(needed {MIN_SIGN_AGREEMENT:.0%}); choose another engine"
        )
    return parity


def compare(expected_BTC: NDArray[np.float32], found_BTC: NDArray[np.float32], attention_mask_BT: NDArray[np.int64]) -> Parity:
    """How far two models' logits lie apart at the positions that are not padding.

    Raises:
        ParityError: the shapes differ, or what was found is not finite.
    """
    if found_BTC.shape != expected_BTC.shape:
        raise ParityError(f"{OUTPUT} has shape {found_BTC.shape}, not {expected_BTC.shape}")
    real_BT = attention_mask_BT.astype(bool)
    expected, found = expected_BTC[real_BT].astype(np.float64), found_BTC[real_BT].astype(np.float64)
    if not np.isfinite(found).all():
        raise ParityError(f"{OUTPUT} has values that are not finite")
    scale = expected.std()
    if not scale > 0:
        raise ParityError("the bundle's probe logits are all alike, which proves nothing; write the bundle again")
    away = np.abs(expected) > NEAR_ZERO * scale
    agreement = (np.sign(found) == np.sign(expected))[away].mean()
    errors = np.abs(found - expected) / scale
    return Parity(float(errors.max()), float(np.sqrt(np.mean(errors**2))), float(agreement))
