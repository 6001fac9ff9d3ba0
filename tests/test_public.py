"""The public face: every promised name is there, costs nothing until it is used, and is the real thing."""

import subprocess
import sys

import pytest

import scanward
from scanward import errors, forgery, formats, image, protection, verdict
from scanward.attacks import base
from scanward.judging import scan as judging
from scanward.judging import site
from scanward.protectors import base as protectors
from scanward.protectors import seal

PROMISED = {
    "inject": forgery, "remove": forgery, "Tamper": base, "load": judging, "scan": judging, "scan_many": judging,
    "Result": judging, "find": formats, "Source": formats, "Around": protection, "Perturb": protection,
    "Record": protection, "Image": image, "Provenance": image, "Site": site, "read_site": site,
    "protect": protection, "verify": protection, "Protected": protectors, "Answer": seal,
    "Verdict": verdict, "Finding": verdict, "Evidence": verdict,
    "ScanwardError": errors, "InputError": errors, "UnreadableError": errors, "UnsupportedError": errors,
    "ArgumentError": errors, "WeightsError": errors, "MissingExtraError": errors,
}


def test_exactly_the_promised_names_are_exported():
    assert set(scanward.__all__) == {*PROMISED, "__version__"}
    assert scanward.__all__ == sorted(scanward.__all__, key=lambda n: (not n[0].isupper(), n))


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_each_is_the_one_from_its_room(name):
    assert getattr(scanward, name) is getattr(PROMISED[name], name)
    assert name in dir(scanward)


def test_every_error_is_exported_and_is_a_scanward_error():
    defined = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, Exception)}
    assert defined <= set(scanward.__all__)
    assert all(issubclass(getattr(scanward, n), scanward.ScanwardError) for n in defined)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = scanward.nonsense


def test_importing_scanward_imports_no_library():
    code = "import scanward, sys; print(sorted({'numpy', 'torch', 'cv2', 'pydicom', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
