"""Who may do what on the pages: roles, and what each brings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

Role = Literal["reviewer", "administrator", "auditor"]
Right = Literal["see", "decide", "export", "retry", "accounts", "audit"]
ROLES: tuple[Role, ...] = get_args(Role)
RIGHTS: dict[Right, frozenset[Role]] = {
    "see": frozenset(ROLES),
    "decide": frozenset({"reviewer"}),
    "export": frozenset({"reviewer", "auditor"}),
    "retry": frozenset({"administrator"}),
    "accounts": frozenset({"administrator"}),
    "audit": frozenset({"auditor"}),
}
"""A right, and the roles that have it: studies and their pictures; reviews; the reviews as a file; a failed study tried
again; other people's accounts; the audit trail."""


def rights_of(roles: Iterable[Role]) -> frozenset[Right]:
    """What somebody with these roles may do."""
    has = frozenset(roles)
    return frozenset(right for right, enough in RIGHTS.items() if enough & has)
