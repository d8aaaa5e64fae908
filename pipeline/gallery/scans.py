"""Chooses how a gallery is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import BadInput
from pipeline.gallery.gpu import GpuScan, num_gpus
from pipeline.gallery.nearest import CodeScan, FloatScan, Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Says how a gallery searches. `scan` changes the speed only; lists change what is found."""

    scan: Literal["auto", "int8", "float32"] = "auto"
    """`int8` needs a CPU with VNNI; `auto` takes a GPU if FAISS sees one, then int8 if it can, else float32."""
    ivf_above: int = 1_000_000
    """Appearances up to which search is exhaustive; above, it looks only into the inverted lists near the query."""
    ivf_lists: int = 1024
    """Inverted lists."""
    ivf_probes: int = 32
    """Lists looked into for a query."""

    def __post_init__(self) -> None:
        if self.scan not in ("auto", "int8", "float32"):
            raise BadInput(f"scan is {self.scan!r}, expected auto, int8 or float32")
        if self.ivf_above < self.ivf_lists or self.ivf_lists < 1 or self.ivf_probes < 1:
            raise BadInput(
                f"ivf_above is {self.ivf_above}, ivf_lists {self.ivf_lists}, ivf_probes {self.ivf_probes}; "
                "expected at least one list, one probe, and no more lists than ivf_above"
            )


def build_scan(config: SearchConfig) -> Scan:
    """Return the scan that the configuration asks for.

    Raises:
        BadInput: int8 on a machine without VNNI.
    """
    if config.scan == "auto" and num_gpus():
        return GpuScan()
    if config.scan == "float32":
        return FloatScan()
    if CodeScan.is_exact_here():
        return CodeScan()
    if config.scan == "int8":
        raise BadInput(
            "scan is int8, but this CPU has no VNNI, or torch no integer product; use auto or float32"
        )
    return FloatScan()
