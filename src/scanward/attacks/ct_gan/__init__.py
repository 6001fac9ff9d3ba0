"""CT-GAN: lung nodules injected into and removed from chest CT (Mirsky et al., USENIX Security 2019)."""

from scanward.attacks.ct_gan.attack import CtGan, CtGanB, CtGanBRemove, CtGanPlain, CtGanPlainB, CtGanRemove

__all__ = ["CtGan", "CtGanB", "CtGanBRemove", "CtGanPlain", "CtGanPlainB", "CtGanRemove"]
