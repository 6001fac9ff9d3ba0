"""The truth of a forged mammogram as a Structured Report by TID 1500, for those who train lesion detectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.formats.altered_dicom import SYNTHETIC
from scanward.formats.codes import DIAMETER, MANUFACTURER, MASS, MILLIMETRE, PROCEDURES
from scanward.formats.derived_report import ascii_text, closed, document
from scanward.formats.reference import anonymous, derived_uid, encoded, identify, read_reference, referring
from scanward.regions import parts_of

SERIES = (9104, "Scanward: SYNTHETIC lesion (truth)")


def lesion_report(path: Path, mask: npt.NDArray[np.bool_], diameter_mm: float, method: str, version: str,
                  params: dict[str, Any]) -> bytes:
    """A DICOM file: the outline of a synthetic mass, `mask` (y, x) in one part, and its diameter, as measured in the
    forged mammogram at `path`, whose patient and study it joins; Synthetic Data is YES.

    `UnsupportedError` where the header lacks what a document must refer to.
    """
    from highdicom import sr

    source = read_reference(path)
    bare = anonymous(source)
    stamp = derived_uid(source.SOPInstanceUID, method, version, json.dumps(params, sort_keys=True, default=str))
    by = sr.AlgorithmIdentification(name=ascii_text(f"scanward {method}", 64), version=version or "unknown",
                                    manufacturer=MANUFACTURER)
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(derived_uid(stamp, "mass"), "Synthetic mass"),
        finding_type=MASS, algorithm_id=by,
        measurements=[sr.Measurement(DIAMETER, round(diameter_mm, 3), MILLIMETRE)],
        referenced_region=sr.ImageRegion(
            sr.GraphicTypeValues.POLYLINE, closed(parts_of(mask)[0]),
            sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID)))
    number, description = SERIES
    series = {"series_instance_uid": derived_uid(stamp, "series"), "series_number": number,
              "series_description": description, "sop_instance_uid": derived_uid(stamp, "instance"),
              "instance_number": 1, "manufacturer": MANUFACTURER, "manufacturer_model_name": "scanward",
              "software_versions": version or "unknown", "device_serial_number": "none"}
    with referring(path, "an annotation", "use the mask instead"):
        made = document([bare], [group], version, PROCEDURES["MG"], series)
        made.add_new(SYNTHETIC, "CS", "YES")
        identify(made, source)
        return encoded(made)
