"""Elements that say how voxels are to be taken: where one of them changes, so does the image."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from sealable import FILM, ct_slice, made

import scanward

CR = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "Modality": "CR"}


def item(**elements):
    data = Dataset()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def table(values):
    data = item(LUTDescriptor=[4, 0, 16], ModalityLUTType="US")
    data.add_new("LUTData", "OW", np.array(values, "<u2").tobytes())
    return Sequence([data])


def palette(red):
    colours = {"Red": red, "Green": range(16), "Blue": range(16)}
    tables = {f"{colour}PaletteColorLookupTableData": np.array(values, "<u2").tobytes() for colour, values in
              colours.items()}
    return tables | {f"{colour}PaletteColorLookupTableDescriptor": [16, 4000, 16] for colour in colours} | {
        "PixelPresentation": "COLOR"}


def shutter(edge):
    return {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 1, "ShutterRightVerticalEdge": edge,
            "ShutterUpperHorizontalEdge": 1, "ShutterLowerHorizontalEdge": 160}


def mask(frame):
    return {"MaskSubtractionSequence": Sequence([item(MaskOperation="AVG_SUB", MaskFrameNumbers=frame)]),
            "RecommendedViewingMode": "SUB"}


def meaning(slope):
    return {"RealWorldValueMappingSequence": Sequence([item(RealWorldValueSlope=slope, RealWorldValueIntercept=0.0)])}


CHANGES = {
    "padding": ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 3}, {"PixelPaddingValue": 0,
                                                                       "PixelPaddingRangeLimit": 4000}),
    "shutter": (shutter(120), shutter(60)),
    "palette": (palette(range(16)), palette(range(0, 32, 2))),
    "mask": (mask(1), mask(2)),
    "meaning": (meaning(1.0), meaning(3.0)),
    "type": ({"RescaleType": "US"}, {"RescaleType": "OD"}),
    "units": ({"Units": "BQML"}, {"Units": "CNTS"}),
    "magnified": ({"EstimatedRadiographicMagnificationFactor": 1.1}, {"EstimatedRadiographicMagnificationFactor": 2}),
    "table": ({"ModalityLUTSequence": table([0, 10, 20, 30])}, {"ModalityLUTSequence": table([0, 10, 0, 30])}),
    "ultrasound": ({"SequenceOfUltrasoundRegions": Sequence([item(PhysicalDeltaX=0.1, PhysicalDeltaY=0.1)])},
                   {"SequenceOfUltrasoundRegions": Sequence([item(PhysicalDeltaX=0.2, PhysicalDeltaY=0.2)])}),
    "aspect": ({"PixelAspectRatio": [1, 1]}, {"PixelAspectRatio": [2, 1]}),
    "imager": ({"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.12, 0.12]},
               {"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.2, 0.2]}),
    "frames": ({"SharedFunctionalGroupsSequence": Sequence([item(FrameAnatomySequence=Sequence([
        item(FrameLaterality="L")]))])}, {"SharedFunctionalGroupsSequence": Sequence([item(
            FrameAnatomySequence=Sequence([item(FrameLaterality="R")]))])}),
    "detector": ({"DetectorInformationSequence": Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])])},
                 {"DetectorInformationSequence": Sequence([item(ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])])}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_says_how_voxels_are_taken_is_sealed(tmp_path, name):
    was, now = CHANGES[name]
    scanward.make_key(tmp_path / "site.key")
    made(FILM, "1.2.9", **CR, **was).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    scanward.seal(tmp_path / "a.dcm", tmp_path / "site.key")
    assert scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key").label == "authentic"
    made(FILM, "1.2.9", **CR, **now).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    answer = scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key")
    assert (answer.label, answer.parts["voxels"].label) == ("tampered", "authentic")
    made(FILM, "1.2.9", **CR).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key").label == "inconclusive"


def test_an_inverse_presentation_cannot_be_taken_away(tmp_path):
    scanward.make_key(tmp_path / "site.key")
    data = made(FILM, "1.2.9", **CR, PresentationLUTShape="INVERSE")
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    scanward.seal(tmp_path / "a.dcm", tmp_path / "site.key")
    del data.PresentationLUTShape
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key").label == "inconclusive"


def test_only_jpeg_2000_calls_its_colours_otherwise(tmp_path):
    scanward.make_key(tmp_path / "site.key")
    colours = np.random.default_rng(3).integers(0, 256, (60, 50, 3)).astype(np.uint8)
    data = made(colours, "1.2.8", SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT", SamplesPerPixel=3,
                PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7, PhotometricInterpretation="RGB")
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    scanward.seal(tmp_path / "a.dcm", tmp_path / "site.key")
    data.PhotometricInterpretation = "YBR_ICT"
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key").label == "tampered"


def test_python_looks_at_nothing_less_than_the_command(tmp_path):
    """A forged slice of the same series beside the sealed ones, in a folder of its own."""
    scanward.make_key(tmp_path / "site.key")
    (tmp_path / "series" / "more").mkdir(parents=True)
    for z in range(4):
        ct_slice(z).save_as(tmp_path / "series" / f"{z}.dcm", enforce_file_format=True)
    scanward.seal(tmp_path / "series", tmp_path / "site.key")
    assert scanward.verify(tmp_path / "series", tmp_path / "site.key").label == "authentic"
    forged = ct_slice(2)
    forged.PixelData = bytes(len(forged.PixelData))
    forged.save_as(tmp_path / "series" / "more" / "2.dcm", enforce_file_format=True)
    with pytest.raises(scanward.UnreadableError):
        scanward.verify(tmp_path / "series", tmp_path / "site.key")


def test_numbers_of_one_table_in_another_representation_are_the_same(tmp_path):
    scanward.make_key(tmp_path / "site.key")
    made(FILM, "1.2.9", **CR, ModalityLUTSequence=table([0, 10, 20, 30])).save_as(tmp_path / "a.dcm",
                                                                                 enforce_file_format=True)
    scanward.seal(tmp_path / "a.dcm", tmp_path / "site.key")
    data = pydicom.dcmread(tmp_path / "a.dcm")
    part = data.ModalityLUTSequence[0]
    del part["LUTData"]
    part.add_new("LUTData", "US", [0, 10, 20, 30])
    data.save_as(tmp_path / "a.dcm")
    assert scanward.verify(tmp_path / "a.dcm", tmp_path / "site.key").label == "authentic"
