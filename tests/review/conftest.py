"""An inbox, and a user who may sign in to its pages."""

import pytest
from web_people import NAME, PASSWORD

from scanward.inbox.folders import Inbox
from scanward.review import accounts


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    """Argon2 as it is, but quick."""
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(accounts, "_hasher", lambda: hasher)
    accounts._nobody.cache_clear()
    yield
    accounts._nobody.cache_clear()


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path / "inbox")


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users.json"
    accounts.add_user(path, NAME, PASSWORD)
    return path
