"""Warnings are kept from the user by threads that come and go, and afterwards every filter is as it was."""

import threading
import warnings

import pytest

from scanward.formats.guard import decoding


def test_threads_that_overlap_are_silent_and_leave_the_filters_as_they_were():
    before = list(warnings.filters)
    inside, gone = threading.Event(), threading.Event()
    heard = []

    def second():
        with decoding("b.dcm"):
            inside.set()
            gone.wait(10)
            try:
                warnings.warn("an odd header", stacklevel=1)
            except UserWarning as warning:  # as the filters of these tests would have it
                heard.append(warning)

    thread = threading.Thread(target=second)
    with decoding("a.dcm"):
        thread.start()
        assert inside.wait(10)
    gone.set()
    thread.join()
    assert not heard and warnings.filters == before
    with pytest.warns(UserWarning, match="own"):
        warnings.warn("the user's own", stacklevel=1)
