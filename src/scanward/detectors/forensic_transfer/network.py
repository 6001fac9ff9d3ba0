"""The networks of Mammo-ForensicTransfer (Bar-on 2020, chapter 4) after ForensicTransfer (Cozzolino et al. 2018).

They know tensors only; `detect.py` maps images to them.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.detectors.forensic_transfer.geometry import RING
from scanward.nets.blocks import Dropout

WIDTHS = (8, 16, 32, 64, 128)


def _block(inputs: int, outputs: int, stride: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(outputs),
                         Dropout(dropout))


class ForensicTransferNet(nn.Module):
    """Encoder, split latent and mirrored decoder.

    Input (n, c, 256, 256): c = 1 raw values over the image's white level, or c = 2 third-order derivatives.
    The latent has 128 maps: the first 64 (`h0`) speak for authentic, the last 64 (`h1`) for forged.
    """

    def __init__(self, channels: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        sizes = (channels, *WIDTHS)
        self.encoder = nn.Sequential(*(
            _block(a, b, 1 if i == 0 else 2, dropout) for i, (a, b) in enumerate(pairwise(sizes))))
        up: list[nn.Module] = []
        for a, b in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True):
            up += [nn.Upsample(scale_factor=2), _block(a, b, 1, dropout)]
        self.decoder = nn.Sequential(*up, nn.Conv2d(WIDTHS[0], channels, 3, 1, 1))

    def activity(self, x: Tensor) -> Tensor:
        """(n, 2, y/16, x/16): Σ|h0| and Σ|h1| over the maps of each latent cell."""
        return self._activity(self.encoder(x))

    def forward(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tile scores (n,) and reconstructions (n, c, 256, 256).

        The half of the latent that is not the class's is zeroed before decoding: the true class in training
        (`label` (n,) in {0, 1}; Cozzolino et al., eq. 4), the predicted one otherwise.
        """
        latent = self.encoder(x)
        score = tile_scores(self._activity(latent))
        chosen = score > 0.5 if label is None else label > 0.5
        half = latent.shape[1] // 2
        keep = torch.cat([(~chosen).float()[:, None].expand(-1, half), chosen.float()[:, None].expand(-1, half)], 1)
        return score, self.decoder(latent * keep[:, :, None, None])

    @staticmethod
    def _activity(latent: Tensor) -> Tensor:
        h0, h1 = latent.float().abs().chunk(2, dim=1)
        return torch.stack([h0.sum(1), h1.sum(1)], 1)


def tile_scores(activity: Tensor) -> Tensor:
    """(n,) scores ‖h1‖₁ / (‖h0‖₁ + ‖h1‖₁) of whole tiles, without the outer ring of the latent."""
    inner = activity[:, :, RING:-RING, RING:-RING].sum((2, 3))
    return inner[:, 1] / inner.sum(1).clamp_min(1e-12)


def loss(x: Tensor, score: Tensor, decoded: Tensor, label: Tensor) -> Tensor:
    """`5·L_ACT + L_REC`, L_ACT = (label − score)², L_REC = mean |x − decoded| (Bar-on 2020, section 4.2)."""
    return 5 * functional.mse_loss(score, label) + functional.l1_loss(decoded.float(), x.float())


class MatrixClassifier(nn.Module):
    """61×61 tile scores to one logit: one convolution, one pooling, three dense layers (Bar-on 2020, section 4.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(4))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * 15 * 15, 32), nn.ReLU(inplace=True),
                                  nn.Linear(32, 16), nn.ReLU(inplace=True), nn.Linear(16, 1))

    def forward(self, scores: Tensor) -> Tensor:
        """(n, 1, 61, 61) in [0, 1] to logits (n,)."""
        return self.head(self.features(scores)).squeeze(1)
