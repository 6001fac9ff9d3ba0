"""How often somebody may try to sign in, so that guessing is slow and nobody can lock another one out.

Wrong passwords count for the address they come from, and for the address and the name together; a device that has
signed in before counts for itself. So no try of others keeps a right password from a fresh address, or from a known
device, out. Guesses at one name from many addresses make every strange device wait before it hears anything, some
seconds at most, and never refuse it: a limit would be a way to lock the owner out. What makes such guesses hopeless is
the second factor, whose codes are limited for each account: only who has the password can use these tries up, and
recovery codes, which nobody can guess, go past them.
"""

from __future__ import annotations

from dataclasses import dataclass

from scanward.review.access import Access, Limit

ADDRESS = Limit("address", 30, 1 / 10)
PAIR = Limit("address and name", 10, 1 / 30)
DEVICE = Limit("device and name", 10, 1 / 30)
CODE = Limit("code", 10, 1 / 300)
ACCOUNT = Limit("name", 120, 1 / 60)
"""Wrong tries that are remembered for the delay."""
FREE, STEP, LONGEST = 20, 0.05, 5.0
"""Wrong tries without a delay; seconds that each further one adds; seconds at most."""
Taken = tuple[Limit, tuple[str, ...]]


@dataclass(frozen=True)
class Try:
    """One try to sign in."""

    wait: float
    """Seconds until it may be made; 0: now."""
    delay: float = 0.0
    """Seconds to wait before it is looked at."""
    taken: tuple[Taken, ...] = ()


@dataclass(frozen=True)
class Whence:
    """Where a try comes from."""

    address: str
    device: str
    """The device's token, empty where it brings none."""


def password_try(access: Access, whence: Whence, name: str) -> Try:
    """A try of a password, counted as a wrong one until `right` is told."""
    folded = name.casefold()[:100]
    if _trusted(access, whence, name, DEVICE):
        return Try(0, taken=((DEVICE, (whence.device, name)),))
    limits: tuple[Taken, ...] = ((ADDRESS, (whence.address,)), (PAIR, (whence.address, folded)))
    if wait := _wait(access, limits):
        return Try(wait)
    missing = access.push(ACCOUNT, folded)
    return Try(0, min(LONGEST, max(0.0, missing - FREE) * STEP), (*limits, (ACCOUNT, (folded,))))


def code_try(access: Access, whence: Whence, name: str) -> Try:
    """A try of a code of the second factor, likewise."""
    if _trusted(access, whence, name, CODE):
        return Try(0, taken=((CODE, (whence.device, name)),))
    limits: tuple[Taken, ...] = ((ADDRESS, (whence.address,)), (CODE, (name,)))
    wait = _wait(access, limits)
    return Try(wait, taken=() if wait else limits)


def right(access: Access, made: Try) -> None:
    """The try was a right one and counts no more."""
    for limit, key in made.taken:
        access.give_back(limit, *key)


def _trusted(access: Access, whence: Whence, name: str, limit: Limit) -> bool:
    """Whether a known device has a try left; without one it is like any other."""
    return bool(whence.device) and access.knows(name, whence.device) and not access.take(limit, whence.device, name)


def _wait(access: Access, limits: tuple[Taken, ...]) -> float:
    return max(access.take(limit, *key) for limit, key in limits)
