"""`scanward serve` and `scanward user`: settings in, one line that says where everything is, exit codes out."""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass
from pathlib import Path

from scanward.cli.codes import CLEAN, ERROR
from scanward.cli.words import shown
from scanward.errors import ArgumentError, MissingExtraError


def run_serve(path: Path | None, reindex: bool = False) -> int:
    """The gateway, until it is told to stop; with `reindex` the index of the studies is made anew first."""
    try:
        from scanward.gateway.node import serve
        from scanward.setting_file import read_config
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    gateway = read_config(path)

    def ready(node: str, pages: str) -> None:
        print(f"Listening: {node}. Inbox: {shown(str(gateway.store.folder))}."
              + (f" Pages: {pages}" if pages else ""), flush=True)

    serve(gateway, ready, reindex=reindex)
    return CLEAN


def run_check(path: Path | None) -> int:
    """The settings and what they name, a line each; starts nothing."""
    try:
        from scanward.gateway.check import check
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    code = CLEAN
    for line in check(path):
        print(f"{line.level:5}  {line.what}: {shown(line.sentence)}", flush=True)
        code = ERROR if line.level == "error" else code
    return code


@dataclass(frozen=True)
class Wanted:
    """What is to become of an account."""

    roles: tuple[str, ...] = ()
    second_factor: bool | None = None
    """True: a fresh one; False: none."""
    remove: bool = False


def run_user(name: str | None, path: Path, wanted: Wanted) -> int:
    """Lists the accounts where no name is given, else makes, changes or removes one."""
    try:
        from scanward.review import accounts
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    if name is None:
        if wanted != Wanted():
            raise ArgumentError("These options are about one account; name it.")
        return _list_users(path)
    if wanted.remove:
        if wanted != Wanted(remove=True):
            raise ArgumentError("--remove goes with no other option.")
        accounts.remove_user(path, name)
        print(f"{shown(name)} may not log in any more: {shown(str(path))}")
        return CLEAN
    factor = _fresh_factor(name) if wanted.second_factor else None
    if name not in accounts.accounts(path) or wanted == Wanted():
        accounts.add_user(path, name, _password(), wanted.roles)
        print(f"{shown(name)} may log in with that password: {shown(str(path))}")
    elif wanted.roles:
        accounts.set_roles(path, name, wanted.roles)
    if factor is not None:
        accounts.set_second_factor(path, name, factor[0], factor[1])
        print("\n".join(factor[2]))
    elif wanted.second_factor is False:
        accounts.set_second_factor(path, name, "", ())
    held = accounts.accounts(path)[name].roles
    print(f"{shown(name)} is {', '.join(held)}.")
    return CLEAN


def _list_users(path: Path) -> int:
    from scanward.review import accounts

    for name, account in sorted(accounts.accounts(path).items()):
        factor = f"second factor, {len(account.recovery)} recovery codes left" if account.totp else "no second factor"
        print(f"{shown(name)}: {', '.join(account.roles)}; {factor}")
    return CLEAN


def _fresh_factor(name: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """A secret, recovery codes, and the lines that say both, once."""
    from scanward.review import second_factor

    secret, codes = second_factor.new_secret(), second_factor.recovery_codes()
    return secret, codes, (f"Secret for an authenticator app: {secret}", second_factor.address(secret, name),
                           "Recovery codes, each for one login:", *codes)


def _password() -> str:
    """Asked for, twice where somebody can see the question."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Once more: "):
        raise ArgumentError("The two passwords differ; nothing was changed.")
    return password


def run_mercure() -> int:
    """One task of mercure's."""
    from scanward.gateway.mercure import run_in_environment

    return run_in_environment()


def _missing(error: ModuleNotFoundError) -> MissingExtraError:
    return MissingExtraError(f"The gateway needs {error.name}, which is not installed; install `scanward[serve]`.")
