"""Mammograms of kinds that no detector was tested on: said by their headers, and neither an alarm nor a pass."""

import pytest
from pydicom.dataset import Dataset

import scanward
from scanward.formats import read
from scanward.formats.identity import identity_of


def view(*modifiers):
    def coded(value):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "as it is"
        return item

    found = coded("399368009")
    found.ViewModifierCodeSequence = [coded(value) for value in modifiers]
    return [found]


UNTESTED = {
    "presentation intent": ({"PresentationIntentType": "FOR PROCESSING"}, "for processing"),
    "class": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2.1"}, "for processing"),
    "generated": ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]}, "a synthetic view"),
    "made by name": ({"SeriesDescription": "L CC C-View"}, "a synthetic view"),
    "slice": ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]}, "a tomosynthesis"),
    "tomosynthesis class": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, "a tomosynthesis"),
    "magnified": ({"EstimatedRadiographicMagnificationFactor": 1.8}, "a magnification view"),
    "magnified by code": ({"ViewCodeSequence": view("399163009")}, "a magnification view"),
    "spot": ({"ViewCodeSequence": view("R-102D5", "R-102D7")}, "a spot compression view"),
    "lossy twice": ({"LossyImageCompression": "01", "LossyImageCompressionRatio": [8, 4]}, "loss by 32:1"),
}
ORDINARY = {
    "for presentation": {"PresentationIntentType": "FOR PRESENTATION", "ImageType": ["ORIGINAL", "PRIMARY"]},
    "contact view": {"EstimatedRadiographicMagnificationFactor": 1.07},
    "implant displaced": {"ViewCodeSequence": view("R-102D5"), "BreastImplantPresent": "YES"},
    "lossy": {"LossyImageCompression": "01", "LossyImageCompressionRatio": 9.5},
    "nonsense": {"LossyImageCompressionRatio": "", "ImageType": "", "ViewCodeSequence": []},
}


@pytest.mark.parametrize("name", UNTESTED)
def test_a_kind_that_no_detector_was_tested_on_is_inconclusive(phantom, tmp_path, name):
    says, words = UNTESTED[name]
    path = tmp_path / "film.dcm"
    phantom.dataset(phantom.breast(), **says).save_as(path, enforce_file_format=True)
    verdict = scanward.scan(path)
    assert (verdict.label, verdict.findings) == ("inconclusive", ())
    assert words in verdict.reason


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_views_are_judged(phantom, tmp_path, name):
    path = tmp_path / "film.dcm"
    phantom.dataset(phantom.breast(), **ORDINARY[name]).save_as(path, enforce_file_format=True)
    assert read(path).untested == ""


def test_a_header_takes_a_word_away_and_never_makes_it_better(phantom, tmp_path):
    """Whatever a forger writes there, no film gets `authentic` by it."""
    for number, (says, _) in enumerate(UNTESTED.values()):
        path = tmp_path / f"{number}.dcm"
        phantom.dataset(phantom.breast(), **says).save_as(path, enforce_file_format=True)
        for method in ("default", "copy-move"):
            assert scanward.scan(path, method=method).label == "inconclusive"


HUNG = {
    "as usual": ({"ImageLaterality": "R", "ViewPosition": "MLO"}, ("R", "MLO")),
    "of the series": ({"Laterality": "L", "ViewPosition": "CC"}, ("L", "CC")),
    "by code": ({"ImageLaterality": "L", "ViewPosition": None, "ViewCodeSequence": view()}, ("L", "MLO")),
    "spot": ({"ImageLaterality": "L", "ViewPosition": "CC", "ViewCodeSequence": view("R-102D7")}, ("L", "CC+")),
    "both": ({"ImageLaterality": "B", "ViewPosition": "cc"}, ("", "CC")),
    "hostile": ({"ImageLaterality": "<b>", "ViewPosition": "<SCRIPT>"}, ("", "")),
    "silent": ({"ViewPosition": None}, ("", "")),
}


@pytest.mark.parametrize("name", HUNG)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_where_a_mammogram_is_hung(phantom, tmp_path, name):
    says, hung = HUNG[name]
    path = tmp_path / "film.dcm"
    data = phantom.dataset(phantom.breast(), IssuerOfPatientID="HOSPITAL")
    for keyword in ("ImageLaterality", "Laterality", "ViewPosition", "ViewCodeSequence"):
        if keyword in data:
            delattr(data, keyword)
        if says.get(keyword) is not None:
            setattr(data, keyword, says[keyword])
    data.save_as(path, enforce_file_format=True)
    found = identity_of(path)
    assert (found.laterality, found.view, found.issuer) == (*hung, "HOSPITAL")
