"""The codes that Scanward's own DICOM objects say things in."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from scanward.image import Modality

MANUFACTURER = "Scanward"
SCHEME = "99SCANWARD"
"""Our private coding scheme, for what neither SNOMED CT nor DICOM has a code for."""
TAMPERING = Code("SW001", SCHEME, "Suspected tampering")
SCORE = Code("SW002", SCHEME, "Image tampering score")
THRESHOLD = Code("SW003", SCHEME, "Decision threshold of tampering score")
DECISION = Code("SW004", SCHEME, "Image integrity decision")
DECISIONS = {
    "tampered": Code("SW005", SCHEME, "Tampered"),
    "authentic": Code("SW006", SCHEME, "Authentic: nothing found"),
    "inconclusive": Code("SW007", SCHEME, "Inconclusive"),
}
MASS = Code("4147007", "SCT", "Mass")
DIAMETER = Code("81827009", "SCT", "Diameter")
MILLIMETRE = Code("mm", "UCUM", "millimeter")
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
PROCEDURES: dict[Modality, Code] = {
    "MG": Code("71651007", "SCT", "Mammography"),
    "CT": Code("77477000", "SCT", "Computed tomography"),
}
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
DEVICE = Code("121007", "DCM", "Device")
NO_UNITS = Code("1", "UCUM", "no units")


def scheme() -> Dataset:
    """The item that says whose our coding scheme is."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "Scanward private codes"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
