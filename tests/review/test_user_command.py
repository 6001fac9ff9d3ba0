"""`scanward user`: accounts, roles and second factors from the command line."""

from __future__ import annotations

import io
import re
import stat

import pytest
from web_people import PASSWORD

from scanward.review import accounts


@pytest.fixture
def user(run, tmp_path, monkeypatch):
    """The command on one users file, with what is typed; its exit code, and what it printed and complained of."""
    def asked(*arguments, typed=PASSWORD):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{typed}\n"))
        return run("user", *arguments, "--users", tmp_path / "users.json")

    asked.file = tmp_path / "users.json"
    return asked


def test_an_account_is_made_changed_listed_and_removed(user):
    code, out, _ = user("mueller")
    assert code == 0 and "mueller may log in" in out and "mueller is reviewer." in out
    assert stat.S_IMODE(user.file.stat().st_mode) == 0o600
    assert accounts.check(user.file, "mueller", PASSWORD)
    assert user("chief", "--role", "administrator", "--role", "auditor")[0] == 0
    assert user("mueller", "--role", "auditor", typed="")[0] == 0, "a known one's password is not asked for"
    assert user("mueller", typed="quite another password")[0] == 0
    assert accounts.check(user.file, "mueller", "quite another password")
    code, out, _ = user()
    assert out.splitlines() == ["chief: administrator, auditor; no second factor", "mueller: auditor; no second factor"]
    assert user("mueller", "--remove")[0] == 0
    assert list(accounts.accounts(user.file)) == ["chief"]


def test_a_second_factor_is_printed_once_and_taken_away(user):
    pytest.importorskip("pyotp")
    code, out, _ = user("mueller", "--second-factor")
    secret = re.search(r"authenticator app: ([A-Z2-7]{32})$", out, re.M)[1]
    assert code == 0 and f"secret={secret}" in out and "otpauth://totp/" in out
    codes = re.findall(r"^(?:[A-Z2-7]{4}-){3}[A-Z2-7]{4}$", out, re.M)
    assert len(codes) == 10 and accounts.accounts(user.file)["mueller"].totp == secret
    assert accounts.use_recovery(user.file, "mueller", codes[0])
    assert "mueller: reviewer; second factor, 9 recovery codes left" in user()[1]
    assert accounts.check(user.file, "mueller", PASSWORD)
    assert user("mueller", "--no-second-factor")[0] == 0
    assert "no second factor" in user()[1]


@pytest.mark.parametrize(("arguments", "typed", "words"), [
    (("a", "--role", "king"), PASSWORD, "no role king"), (("a",), "short", "10 to 1024"),
    (("a", "--remove"), "", "no account of a"), (("a", "--remove", "--role", "auditor"), "", "no other option"),
    (("--role", "auditor"), "", "name it"), ((" a",), PASSWORD, "choose another")])
def test_what_will_not_do_is_one_sentence_and_changes_nothing(user, arguments, typed, words):
    assert user("before")[0] == 0
    kept = user.file.read_text()
    code, _, err = user(*arguments, typed=typed)
    assert code == 2 and words in err and len(err.splitlines()) == 1
    assert user.file.read_text() == kept


def test_without_the_library_no_account_is_half_made(user, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyotp", None)
    code, _, err = user("a", "--second-factor")
    assert code == 2 and "scanward[login]" in err
    assert not user.file.exists()
