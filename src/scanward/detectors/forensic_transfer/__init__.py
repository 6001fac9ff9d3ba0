"""Mammo-ForensicTransfer (Bar-on 2020), after ForensicTransfer (Cozzolino et al. 2018)."""

from scanward.detectors.forensic_transfer.detect import ForensicTransfer, ForensicTransferHighpass

__all__ = ["ForensicTransfer", "ForensicTransferHighpass"]
